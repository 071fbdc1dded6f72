//! Named checks, each with its clause, what is sent, what is expected, and what came.

use super::party::Answer;

pub struct Row {
    area: &'static str,
    name: String,
    clause: &'static str,
    expected: String,
    trouble: Option<String>,
}

#[derive(Default)]
pub struct Report {
    area: &'static str,
    rows: Vec<Row>,
}

impl Report {
    /// The checks that follow are of this area.
    pub fn area(&mut self, area: &'static str) {
        self.area = area;
    }

    pub fn check(&mut self, clause: &'static str, name: &str, expected: &str, outcome: Result<(), String>) {
        let (name, expected) = (name.to_owned(), expected.to_owned());
        self.rows.push(Row { area: self.area, name, clause, expected, trouble: outcome.err() });
    }

    pub fn holds(&mut self, clause: &'static str, name: &str, holds: bool, came: &str) {
        self.check(clause, name, "so it is", if holds { Ok(()) } else { Err(came.to_owned()) });
    }

    /// A success.
    pub fn accepted(&mut self, clause: &'static str, name: &str, answer: &Answer) {
        let good = answer.status / 100 == 2;
        self.check(clause, name, "accepted", if good { Ok(()) } else { Err(answer.told()) });
    }

    /// A refusal by an OAuth endpoint: one of these statuses with one of these codes, as JSON with plain ASCII text.
    pub fn refused(&mut self, clause: &'static str, name: &str, answer: &Answer, statuses: &[u16], codes: &[&str]) {
        let code = answer.body["error"].as_str().unwrap_or_default();
        let description = answer.body["error_description"].as_str().unwrap_or_default();
        // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
        let plain = description.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\');
        let json = answer.field("content-type").starts_with("application/json");
        let good = statuses.contains(&answer.status) && codes.contains(&code) && plain && json;
        let expected = format!("{statuses:?} {codes:?}");
        self.check(clause, name, &expected, if good { Ok(()) } else { Err(answer.told()) });
    }

    /// Prints the table, and fails if a check did, or if there are fewer than `least`.
    pub fn finish(self, least: usize) {
        let mut area = "";
        for row in &self.rows {
            if row.area != area {
                area = row.area;
                println!("\n{area}");
            }
            let mark = if row.trouble.is_some() { "FAILED" } else { "ok" };
            println!("  {mark:6} {:28} {}  [{}]", row.clause, row.name, row.expected);
            if let Some(trouble) = &row.trouble {
                println!("         came: {trouble}");
            }
        }
        let failed: Vec<String> = self
            .rows
            .iter()
            .filter_map(|row| Some(format!("{} {}: {}", row.clause, row.name, row.trouble.as_ref()?)))
            .collect();
        println!("\n{} checks, {} failed", self.rows.len(), failed.len());
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        assert!(self.rows.len() >= least, "{} checks are fewer than {least}", self.rows.len());
    }
}
