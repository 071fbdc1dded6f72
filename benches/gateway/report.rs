//! What was measured, for people on the terminal and for programs in `report.json`.

use std::path::Path;

use serde_json::{Value, json};

use super::scene::Size;

pub struct Report {
    header: Value,
    sizes: Vec<Value>,
    comparisons: Vec<Value>,
    chapter: String,
    values: Vec<Value>,
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
        let (sizes, comparisons, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { header, sizes, comparisons, chapter: String::new(), values }
    }

    pub fn size(&mut self, name: &str, size: Size, policies: usize) {
        let Size { operations, clients } = size;
        println!("{name}: {operations} operations, {clients} clients, {} tenants, {policies} policies", clients / 10);
        self.sizes.push(json!({
            "name": name, "operations": operations, "clients": clients, "policies": policies,
        }));
    }

    /// A line of the table: what one proxy costs over one transport, and its ratio to the line above.
    pub fn comparison(&mut self, transport: &str, name: &str, figures: &Value) {
        if self.comparisons.is_empty() {
            println!("\n  {:<14}{:<8}{:>15}{:>9}{:>9}{:>9}{:>9}", "", "", "CPU-s per 100k", "±", "busy", "ratio", "±");
        }
        let figure = |name: &str| figures.get(name).and_then(Value::as_f64);
        let number = |name: &str| figure(name).unwrap_or(f64::NAN);
        let ratio = figure("ratio")
            .map_or_else(String::new, |ratio| format!("{ratio:>9.3}{:>8.1}%", number("ratio_noise_percent")));
        println!(
            "  {transport:<14}{name:<8}{:>15.3}{:>8.1}%{:>8.0}%{ratio}",
            number("cpu_seconds_per_100k"),
            number("noise_percent"),
            number("busy") * 100.0,
        );
        self.comparisons.push(json!({ "transport": transport, "proxy": name, "figures": figures }));
    }

    /// What the values that follow are about.
    pub fn chapter(&mut self, name: &str) {
        println!("\n{name}");
        name.clone_into(&mut self.chapter);
    }

    pub fn value(&mut self, name: &str, value: f64, unit: &str) {
        println!("  {name:<64}{value:>12.2} {unit}");
        self.values.push(json!({ "of": self.chapter, "name": name, "value": value, "unit": unit }));
    }

    /// Writes what there is, also of a run that broke off.
    pub fn finish(self, folder: &Path) -> anyhow::Result<()> {
        let Self { header, sizes, comparisons, values, .. } = self;
        let whole = json!({ "machine": header, "sizes": sizes, "comparisons": comparisons, "values": values });
        let file = folder.join("report.json");
        std::fs::write(&file, format!("{whole:#}\n"))?;
        println!("\nwritten: {}", file.display());
        Ok(())
    }
}
