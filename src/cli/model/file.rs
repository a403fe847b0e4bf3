//! Model files on this machine: what they are, read from their headers, and which of a folder is meant.

use std::path::{Path, PathBuf};

use greenroom_gguf::{Facts, inspect};

use super::names;
use crate::cli::table::Table;
use crate::cli::terminal::Style;

/// Most files of a folder that are looked into.
const MOST_FILES: usize = 200;

/// A file that can be run here.
pub struct ModelFile {
    /// Where it is, from the root.
    pub path: PathBuf,
    /// What it is.
    pub facts: Facts,
}

impl ModelFile {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// When it is none, or holds a model that cannot be run.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let facts = inspect(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        Ok(Self { path: path.canonicalize()?, facts })
    }

    /// Its name without the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// One line about it.
    pub fn about(&self) -> String {
        let facts = &self.facts;
        let name = facts.name.clone().unwrap_or_else(|| format!("{:?}", facts.architecture));
        format!("{name}, {} parameters, {}", amount(facts.parameters), facts.quantization)
    }
}

/// The file that is meant: the path itself, or of a folder the only one or the one that a person picks.
///
/// # Errors
/// When there is none, it cannot be run, or there is nobody to ask.
pub fn choose(
    path: &Path,
    style: Style,
    ask: impl FnOnce(&str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<ModelFile> {
    if !path.is_dir() {
        return ModelFile::open(path);
    }
    let is_model = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_model).collect();
    paths.sort();
    paths.truncate(MOST_FILES);
    let looked = paths.iter().map(|path| (path, ModelFile::open(path)));
    let (files, broken): (Vec<_>, Vec<_>) = looked.partition(|(_, file)| file.is_ok());
    let mut files: Vec<ModelFile> = files.into_iter().filter_map(|(_, file)| file.ok()).collect();
    for why in broken.into_iter().filter_map(|(_, file)| file.err()) {
        eprintln!("{why}");
    }
    match files.len() {
        0 => anyhow::bail!("{} holds no model file that can be run", path.display()),
        1 => {}
        count => {
            let table = listed(&files, style);
            let Some(line) = ask(&table)? else {
                anyhow::bail!("{} holds several model files: name one\n{table}", path.display());
            };
            let [only] = names::picked(&line, count)?[..] else { anyhow::bail!("one file has to be picked") };
            return Ok(files.swap_remove(only));
        }
    }
    Ok(files.swap_remove(0))
}

fn listed(files: &[ModelFile], style: Style) -> String {
    let mut table = Table::new(&["number", "size", "tokens", "file", "about"]);
    for (index, file) in files.iter().enumerate() {
        let cells = [
            (index + 1).to_string(),
            format!("{}B", amount(file.facts.file_bytes)),
            file.facts.context_length.to_string(),
            file.name(),
            file.about(),
        ];
        table.row(&cells, 120);
    }
    table.render(style, "")
}

/// A number for people: three digits and a letter.
fn amount(number: u64) -> String {
    for (unit, letter) in [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "K")] {
        if number >= unit {
            let tenths = (number * 10 + unit / 2) / unit;
            return format!("{}.{} {letter}", tenths / 10, tenths % 10);
        }
    }
    format!("{number} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (number, text) in [(12, "12 "), (1_500, "1.5 K"), (134_000_000, "134.0 M"), (8_030_261_248, "8.0 G")] {
            assert_eq!(amount(number), text);
        }
    }

    #[test]
    fn what_is_no_model_is_named() {
        let folder = std::env::temp_dir().join(format!("greenroom-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let nobody = |_: &str| Ok(None);
        let empty = choose(&folder, Style::bare(), nobody).err().unwrap().to_string();
        assert!(empty.contains("no model file"), "{empty}");
        let file = folder.join("x.gguf");
        std::fs::write(&file, "not a model").unwrap();
        let no_model = choose(&file, Style::bare(), nobody).err().unwrap().to_string();
        assert!(no_model.contains("x.gguf") && no_model.contains("GGUF"), "{no_model}");
        assert!(choose(&folder.join("missing.gguf"), Style::bare(), nobody).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
