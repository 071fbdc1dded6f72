//! What was measured, for people on the terminal and for programs in `report.json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::scene::Size;

pub struct Report {
    header: Map<String, Value>,
    configurations: Vec<Value>,
}

impl Report {
    pub fn new(pinned: bool) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let model = text("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned));
        let load = text("/proc/loadavg").split_whitespace().next().map(str::to_owned);
        println!(
            "machine: {}, load average at the start {}",
            model.as_deref().unwrap_or("?"),
            load.as_deref().unwrap_or("?")
        );
        if !pinned {
            println!("not pinned: taskset (util-linux) or a second core is missing, so figures are noisier");
        }
        let header = json!({ "cpu": model, "load_average_at_start": load, "pinned": pinned });
        let Value::Object(header) = header else { return Self { header: Map::new(), configurations: Vec::new() } };
        Self { header, configurations: Vec::new() }
    }

    pub fn configuration(&mut self, name: &str, size: Size, policies: usize) {
        let Size { operations, clients } = size;
        println!("\n{name}: {operations} operations, {clients} clients, {policies} policies");
        println!(
            "  {:<14}{:>12}{:>9}{:>9}{:>12}{:>9}{:>9}{:>9}",
            "CPU-s per 100k", "bare", "±", "busy", "full", "±", "busy", "ratio"
        );
        self.configurations.push(json!({
            "name": name, "operations": operations, "clients": clients, "policies": policies,
            "comparisons": [], "values": {},
        }));
    }

    pub fn comparison(&mut self, comparison: Value) {
        let figure = |pointer: &str| comparison.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let transport = comparison.get("transport").and_then(Value::as_str).unwrap_or_default();
        println!(
            "  {transport:<14}{:>12.3}{:>8.1}%{:>8.0}%{:>12.3}{:>8.1}%{:>8.0}%{:>9.2}",
            figure("/bare/cpu_seconds_per_100k"),
            figure("/bare/noise_percent"),
            figure("/bare/busy") * 100.0,
            figure("/full/cpu_seconds_per_100k"),
            figure("/full/noise_percent"),
            figure("/full/busy") * 100.0,
            figure("/ratio"),
        );
        if let Some(Value::Array(comparisons)) = self.last("comparisons") {
            comparisons.push(comparison);
        }
    }

    pub fn value(&mut self, name: &str, value: f64, unit: &str) {
        println!("  {name:<60}{value:>12.1} {unit}");
        if let Some(Value::Object(values)) = self.last("values") {
            values.insert(name.to_owned(), json!({ "value": value, "unit": unit }));
        }
    }

    fn last(&mut self, member: &str) -> Option<&mut Value> {
        self.configurations.last_mut()?.get_mut(member)
    }

    /// Writes what there is, also of a run that broke off.
    pub fn finish(mut self, folder: &Path) -> anyhow::Result<()> {
        self.header.insert("configurations".to_owned(), Value::Array(self.configurations));
        let file = folder.join("report.json");
        std::fs::write(&file, format!("{:#}\n", Value::Object(self.header)))?;
        println!("\nwritten: {}", file.display());
        Ok(())
    }
}
