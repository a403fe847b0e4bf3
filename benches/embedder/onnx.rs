//! ONNX Runtime in a Python child. Its packages are installed with pip into `.local/bench-python` on first use.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

const PACKAGES: [&str; 4] = ["onnxruntime", "onnx", "numpy", "tokenizers"];

/// The child; killed with its holder.
pub struct Onnx {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub version: String,
}

#[derive(Deserialize)]
struct Hello {
    version: String,
}

/// What a request came to.
#[derive(Deserialize)]
pub struct Answer {
    /// Milliseconds of each run, the session alone.
    pub ms: Vec<f64>,
    /// Word pieces of all texts.
    pub tokens: usize,
    /// One for each text, when asked for.
    #[serde(default)]
    pub vectors: Vec<Vec<f32>>,
}

impl Onnx {
    /// Installs what is missing and starts the child.
    pub fn start(root: &Path, model: &Path, threads: usize) -> anyhow::Result<Self> {
        let packages = root.join(".local/bench-python");
        let stamp = packages.join(".stamp");
        let wanted = PACKAGES.join(" ");
        if std::fs::read_to_string(&stamp).unwrap_or_default() != wanted {
            eprintln!("installing {wanted} into {}", packages.display());
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"];
            let status = Command::new("python3").args(pip).arg(&packages).args(PACKAGES).status()?;
            if !status.success() {
                bail!("pip could not install {wanted}");
            }
            std::fs::write(&stamp, &wanted)?;
        }
        let mut child = Command::new("python3")
            .arg(root.join("benches/embedder/onnx_side.py"))
            .arg(model)
            .arg(threads.to_string())
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("a pipe")?;
        let mut answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let hello: Hello = answer(&mut answers)?;
        Ok(Self { child, ask, answers, version: hello.version })
    }

    /// Runs texts as one batch, `runs` times.
    pub fn run(&mut self, texts: &[String], runs: usize, with_vectors: bool) -> anyhow::Result<Answer> {
        writeln!(self.ask, "{}", json!({"texts": texts, "runs": runs, "vectors": with_vectors}))?;
        self.ask.flush()?;
        answer(&mut self.answers)
    }
}

impl Drop for Onnx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer<T: for<'a> Deserialize<'a>>(answers: &mut impl BufRead) -> anyhow::Result<T> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        bail!("the Python side has ended");
    }
    Ok(serde_json::from_str(&line)?)
}
