//! Child processes: pinned, measured from outside, ended by their process id.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context;

/// Kernel ticks per second in `/proc`; Linux has fixed it for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Pins this process, before it has threads. False where it cannot be done: figures are then noisier.
pub fn pin_self(core: usize) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores <= core {
        return false;
    }
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", &core.to_string(), &own]).stdout(Stdio::null()).status();
    pinned.is_ok_and(|status| status.success())
}

/// A command that runs on core 0, if `taskset` (util-linux) is there.
pub fn pinned_command(program: &Path) -> Command {
    let there = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        return command; // `taskset` becomes the program: the process id stays.
    }
    Command::new(program)
}

/// A child that is ended when this is dropped.
pub struct Process {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| format!("{command:?} does not start"))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let output = self.output.as_mut().context("its output is not piped")?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the process ended before it was ready");
        Ok(line)
    }

    /// What it answers to an empty line.
    pub fn ask(&mut self) -> anyhow::Result<String> {
        self.child.stdin.as_mut().context("its input is not piped")?.write_all(b"\n")?;
        self.line()
    }

    /// CPU-seconds used so far, by all of its threads, in user and kernel.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field, the name, may hold blanks; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').context("no name in /proc/PID/stat")?.1;
        let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    pub fn hang_up(&self) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-HUP", &self.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "the signal was not sent");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
