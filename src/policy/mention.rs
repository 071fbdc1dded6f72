//! Which facts of a question does a policy read? Found in its syntax tree when compiling.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, Template, Var};

/// One fact of a question. The order is the order within a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// Which operation, beyond what the slice says.
    Action,
    ClientStatus,
    ClientEnvironment,
    /// That the client has a tenant, for whatever is asked of it.
    Tenant,
    TenantStatus,
    TenantJurisdiction,
    TenantLicences,
    DataJurisdictions,
    Environment,
    Risk,
    Product,
    SenderConstrained,
    Scopes,
    DetailTypes,
    LicenceRole,
    /// Whether there is one; its parts are facts of their own.
    Amount,
    AmountMinorUnits,
    AmountCurrency,
    AmountExpected,
}

impl Fact {
    const ALL: [(Self, &'static str); 19] = [
        (Self::Action, "action"),
        (Self::ClientStatus, "principal.status"),
        (Self::ClientEnvironment, "principal.environment"),
        (Self::Tenant, "principal.tenant"),
        (Self::TenantStatus, "principal.tenant.status"),
        (Self::TenantJurisdiction, "principal.tenant.jurisdiction"),
        (Self::TenantLicences, "principal.tenant.licences"),
        (Self::DataJurisdictions, "resource.data_jurisdictions"),
        (Self::Environment, "context.environment"),
        (Self::Risk, "context.risk"),
        (Self::Product, "context.product"),
        (Self::SenderConstrained, "context.sender_constrained"),
        (Self::Scopes, "context.scopes"),
        (Self::DetailTypes, "context.authorization_details_types"),
        (Self::LicenceRole, "context.licence_role"),
        (Self::Amount, "context.amount"),
        (Self::AmountMinorUnits, "context.amount.minor_units"),
        (Self::AmountCurrency, "context.amount.currency"),
        (Self::AmountExpected, "context.amount_expected"),
    ];

    fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == path).map(|(fact, _)| *fact)
    }
}

/// A set of facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts(u32);

impl Facts {
    pub fn add(&mut self, fact: Fact) {
        self.0 |= 1 << fact as u32;
    }

    pub fn has(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u32) != 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Every fact that there is.
    pub fn all() -> Self {
        let mut facts = Self::default();
        Fact::ALL.iter().for_each(|(fact, _)| facts.add(*fact));
        facts
    }

    /// As policies write them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Fact::ALL.iter().filter(move |(fact, _)| self.has(*fact)).map(|(_, name)| *name)
    }
}

/// What a policy reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Mentions {
    pub facts: Facts,
    /// An amount is only ever compared with these, so only its place among them matters …
    pub thresholds: BTreeSet<i64>,
    /// … unless it is used in another way.
    pub exact_amount: bool,
    /// Literals of these types. Policies cannot see an id except by comparing it with a literal of its type.
    pub clients: BTreeSet<String>,
    pub tenants: BTreeSet<String>,
    pub products: BTreeSet<String>,
    pub institutions: BTreeSet<String>,
    /// Attributes behind `has` that do not exist: Cedar takes them for merely absent.
    pub unknown_attributes: BTreeSet<String>,
}

impl Mentions {
    /// Reads a policy: its conditions, and of its scope what is not decided when slicing.
    pub fn of(policy: &Template) -> Self {
        let mut mentions = Self::default();
        match &policy.principal {
            PrincipalConstraint::Eq(entity)
            | PrincipalConstraint::In(entity)
            | PrincipalConstraint::IsIn(_, entity) => {
                if let EntityOrSlot::Entity(uid) = entity {
                    mentions.literal(&uid.ty.to_string(), uid.eid.as_str());
                }
            }
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
        }
        for clause in policy.clauses() {
            match clause {
                Clause::When(condition) | Clause::Unless(condition) => mentions.condition(condition),
            }
        }
        mentions
    }

    /// Adds what another policy of the same slice reads.
    pub fn add(&mut self, other: &Self) {
        self.facts = self.facts.union(other.facts);
        self.thresholds.extend(&other.thresholds);
        self.exact_amount |= other.exact_amount;
        for (mine, more) in [
            (&mut self.clients, &other.clients),
            (&mut self.tenants, &other.tenants),
            (&mut self.products, &other.products),
            (&mut self.institutions, &other.institutions),
        ] {
            mine.extend(more.iter().cloned());
        }
    }

    fn condition(&mut self, root: &Expr) {
        let mut open = vec![root];
        while let Some(expression) = open.pop() {
            match expression {
                Expr::Literal(Literal::EntityUID(uid)) => self.literal(&uid.ty.to_string(), uid.eid.as_str()),
                Expr::Var(variable) => self.variable(variable),
                Expr::GetAttr { .. } => match path(expression) {
                    Some(path) => self.path(&path),
                    None => self.everything(expression, &mut open),
                },
                Expr::HasAttr { expr, attrs } => match path(expr) {
                    Some(base) => drop(attrs.iter().fold(base, |base, name| self.presence(&base, name.as_str()))),
                    None => self.everything(expression, &mut open),
                },
                Expr::BinaryOp { op, left, right } if self.comparison(*op, left, right) => {}
                _ => match operands(expression) {
                    Some(operands) => open.extend(operands),
                    // A kind of expression that this version of Cedar does not write: assume the worst.
                    None => self.everything_known(),
                },
            }
        }
    }

    fn literal(&mut self, kind: &str, id: &str) {
        match kind {
            "Client" => drop(self.clients.insert(id.to_owned())),
            "Tenant" => drop(self.tenants.insert(id.to_owned())),
            "Product" => drop(self.products.insert(id.to_owned())),
            "Institution" => drop(self.institutions.insert(id.to_owned())),
            "Action" => self.facts.add(Fact::Action),
            _ => {}
        }
    }

    /// A variable that stands alone, not before an attribute.
    fn variable(&mut self, variable: &Var) {
        match variable {
            Var::Principal | Var::Resource => {} // Their ids matter through literals only.
            Var::Action => self.facts.add(Fact::Action),
            Var::Context => self.everything_known(),
        }
    }

    /// `context.amount.minor_units > 2500000`: only the side of the threshold matters.
    fn comparison(&mut self, op: BinaryOp, left: &Expr, right: &Expr) -> bool {
        let compares = matches!(
            op,
            BinaryOp::Less
                | BinaryOp::LessEq
                | BinaryOp::Greater
                | BinaryOp::GreaterEq
                | BinaryOp::Eq
                | BinaryOp::NotEq
        );
        let threshold = match (left, right) {
            (Expr::Literal(Literal::Long(threshold)), amount) | (amount, Expr::Literal(Literal::Long(threshold)))
                if path(amount).as_deref() == Some("context.amount.minor_units") =>
            {
                *threshold
            }
            _ => return false,
        };
        if compares {
            self.facts.add(Fact::Amount);
            self.facts.add(Fact::AmountMinorUnits);
            self.thresholds.insert(threshold);
        }
        compares
    }

    fn path(&mut self, path: &str) {
        match path {
            "context.amount" => self.amount(),
            "context.amount.minor_units" => {
                self.reads(path);
                self.exact_amount = true;
            }
            _ => self.reads(path),
        }
    }

    /// An unknown path is Cedar's to refuse.
    fn reads(&mut self, path: &str) {
        if let Some(fact) = Fact::of_path(path) {
            self.facts.add(fact);
            // What holds it must be there as well.
            let holder = path.rsplit_once('.').and_then(|(holder, _)| Fact::of_path(holder));
            holder.into_iter().for_each(|holder| self.facts.add(holder));
        }
    }

    /// One step of `base has attribute`; gives the path for the next step.
    fn presence(&mut self, base: &str, attribute: &str) -> String {
        let path = format!("{base}.{attribute}");
        match Fact::of_path(&path) {
            Some(_) => self.reads(&path),
            None => drop(self.unknown_attributes.insert(attribute.to_owned())),
        }
        path
    }

    /// An attribute of something that is not a plain path, as in `(if a then principal else b).status`.
    fn everything<'e>(&mut self, expression: &'e Expr, open: &mut Vec<&'e Expr>) {
        self.everything_known();
        open.extend(operands(expression).into_iter().flatten());
    }

    fn everything_known(&mut self) {
        self.facts = Facts::all();
        self.amount();
    }

    fn amount(&mut self) {
        for fact in [Fact::Amount, Fact::AmountMinorUnits, Fact::AmountCurrency] {
            self.facts.add(fact);
        }
        self.exact_amount = true;
    }
}

/// `context.amount.currency` as text, if the expression is a variable and attributes of it.
fn path(expression: &Expr) -> Option<String> {
    let mut attributes = Vec::new();
    let mut base = expression;
    while let Expr::GetAttr { expr, attr } = base {
        attributes.push(attr.as_str());
        base = expr;
    }
    let variable = match base {
        Expr::Var(Var::Principal) => "principal",
        Expr::Var(Var::Action) => "action",
        Expr::Var(Var::Resource) => "resource",
        Expr::Var(Var::Context) => "context",
        _ => return None,
    };
    attributes.push(variable);
    attributes.reverse();
    Some(attributes.join("."))
}

/// What an expression is made of; nothing if its kind is unknown.
fn operands(expression: &Expr) -> Option<Vec<&Expr>> {
    Some(match expression {
        Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) | Expr::Unknown { .. } => Vec::new(),
        Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => vec![expr],
        Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => {
            [Some(expr), in_expr.as_ref()].into_iter().flatten().map(AsRef::as_ref).collect()
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(elements) => elements.iter().map(AsRef::as_ref).collect(),
        Expr::Record(members) => members.values().map(AsRef::as_ref).collect(),
        _ => return None,
    })
}

/// How many expressions within expressions the deepest condition has.
pub(super) fn depth(policy: &Template) -> usize {
    let roots = policy.clauses().iter().map(|clause| match clause {
        Clause::When(condition) | Clause::Unless(condition) => (condition.as_ref(), 1),
    });
    let mut open: Vec<(&Expr, usize)> = roots.collect();
    let mut deepest = 0;
    while let Some((expression, depth)) = open.pop() {
        deepest = deepest.max(depth);
        open.extend(operands(expression).into_iter().flatten().map(|operand| (operand, depth + 1)));
    }
    deepest
}

/// The names of all attributes, for suggestions.
pub(super) fn attribute_names() -> impl Iterator<Item = &'static str> {
    Fact::ALL.iter().filter_map(|(_, path)| path.rsplit_once('.').map(|(_, name)| name))
}
