//! What was expected, what came, and whether that was right: a table for people, one document for programs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No step waits longer: a gateway that hangs fails the walk, it does not stop it.
const STEP_MAX: Duration = Duration::from_mins(5);
const STEP_WIDTH: usize = 44;
const EXPECTED_WIDTH: usize = 58;

/// The verdicts so far.
pub(super) struct Report {
    json: bool,
    begun: Instant,
    theme: &'static str,
    rows: Vec<Row>,
}

struct Row {
    theme: &'static str,
    step: String,
    expected: String,
    came: String,
    right: bool,
    took: Duration,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Self { json, begun: Instant::now(), theme: "", rows: Vec::new() }
    }

    /// The steps that follow belong together.
    pub fn theme(&mut self, theme: &'static str) {
        self.theme = theme;
        if !self.json {
            println!("\n{theme}");
        }
    }

    /// Does one step: `work` answers what came, or why that is not what was expected.
    pub async fn check(&mut self, step: &str, expected: &str, work: impl Future<Output = anyhow::Result<String>>) {
        let begun = Instant::now();
        let (right, came) = match tokio::time::timeout(STEP_MAX, work).await {
            Ok(Ok(came)) => (true, came),
            Ok(Err(error)) => (false, format!("{error:#}")),
            Err(_) => (false, format!("nothing within {} s", STEP_MAX.as_secs())),
        };
        let row = Row {
            theme: self.theme,
            step: step.to_owned(),
            expected: expected.to_owned(),
            came,
            right,
            took: begun.elapsed(),
        };
        if !self.json {
            row.print();
        }
        self.rows.push(row);
    }

    /// Prints the sum. Answers whether everything was right.
    pub fn finish(self) -> bool {
        let failed = self.rows.iter().filter(|row| !row.right).count();
        let passed = self.rows.len() - failed;
        let sum = format!("{passed} passed, {failed} failed");
        let took = self.begun.elapsed();
        if self.json {
            let steps: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
            println!("{:#}", json!({ "passed": passed, "failed": failed, "took_ms": millis(took), "steps": steps }));
            eprintln!("{sum}");
        } else {
            println!("\nThe walk took {:.1} s.\n{sum}", took.as_secs_f64());
        }
        failed == 0
    }
}

impl Row {
    fn print(&self) {
        let mark = if self.right { '✓' } else { '✗' };
        let mut lines = self.came.lines();
        println!(
            "  {mark} {:STEP_WIDTH$}  {:EXPECTED_WIDTH$}  {} ({} ms)",
            self.step,
            self.expected,
            lines.next().unwrap_or_default(),
            millis(self.took)
        );
        lines.for_each(|line| println!("      {line}"));
    }

    fn to_json(&self) -> Value {
        json!({
            "theme": self.theme,
            "step": self.step,
            "expected": self.expected,
            "came": self.came,
            "right": self.right,
            "took_ms": millis(self.took),
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
