//! Reading a `.env` file: `NAME=value` lines, optional `export`, quotes, comments. It never changes the process's own
//! environment; its values rank just below it. Deliberately absent: variable expansion.

/// The variables of a file's text, in order.
#[must_use]
pub fn parse(text: &str) -> Vec<(String, String)> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && !line.starts_with('#')).then(|| (name.to_owned(), unquote(value.trim())))
}

fn unquote(value: &str) -> String {
    let mut chars = value.chars();
    match chars.next() {
        Some('\'') => value[1..].split('\'').next().unwrap_or_default().to_owned(),
        Some('"') => {
            let mut text = String::new();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => match chars.next() {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some(other) => text.push(other),
                        None => {}
                    },
                    other => text.push(other),
                }
            }
            text
        }
        _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_read_them() {
        let text = "# comment\nA=1\nexport B = two # why\nC='x # y'\nD=\"q\\\"\\n\"\n=bad\nno line\nE=\nF-G=1\nH=a#b\n";
        let expected = [("A", "1"), ("B", "two"), ("C", "x # y"), ("D", "q\"\n"), ("E", ""), ("H", "a#b")];
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse(text), expected);
    }
}
