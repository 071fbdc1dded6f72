//! Who is a partner, and what has it subscribed to? Tenants, clients, institutions, products, plans, subscriptions.
