//! Names of models: what a person means by a part of one, and what a new one is called. Pure.

/// The alias that is meant: itself in any case, else the only one that contains what was typed, punctuation aside.
///
/// # Errors
/// When none does, or several do.
pub fn meant<'a>(typed: &str, aliases: &[&'a str]) -> anyhow::Result<&'a str> {
    let exact = |alias: &&&str| alias.eq_ignore_ascii_case(typed.trim());
    if let Some(alias) = aliases.iter().find(exact) {
        return Ok(alias);
    }
    let bare = letters(typed);
    let mut alike = aliases.iter().filter(|alias| !bare.is_empty() && letters(alias).contains(&bare));
    match (alike.next(), alike.next()) {
        (Some(alias), None) => Ok(alias),
        (None, _) => anyhow::bail!("no model is called '{typed}'; `greenroom model list` shows them all"),
        (Some(first), Some(second)) => {
            let all: Vec<&str> = [first, second].into_iter().chain(alike).copied().collect();
            anyhow::bail!("'{typed}' may be any of {}", all.join(", "))
        }
    }
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// An alias for a provider's model that nobody has yet.
pub fn alias_for(id: &str, taken: &[String]) -> String {
    let plain = id.trim().to_lowercase().replace(['/', ':'], "-");
    free(if plain.is_empty() { "model".into() } else { plain }, taken)
}

/// An alias for a model file: its name without ending and without the format of its weights.
pub fn alias_of_file(filename: &str, taken: &[String]) -> String {
    let stem = filename.to_lowercase();
    let stem = stem.strip_suffix(".gguf").unwrap_or(&stem);
    let of_weights = |part: &str| {
        let part = part.strip_prefix('i').unwrap_or(part);
        matches!(part, "f16" | "f32" | "bf16")
            || part.strip_prefix('q').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let name = match stem.rsplit_once(['-', '.']) {
        Some((name, last)) if of_weights(last) && !name.is_empty() => name,
        _ => stem,
    };
    alias_for(name, taken)
}

fn free(alias: String, taken: &[String]) -> String {
    let is_free = |name: &str| !taken.iter().any(|known| known.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number| format!("{alias}-{number}"));
    std::iter::once(alias.clone()).chain(numbered).find(|name| is_free(name)).unwrap_or(alias)
}

/// Which of `count` things are meant by `1,3 5`.
///
/// # Errors
/// When something in it is no such number.
pub fn picked(line: &str, count: usize) -> anyhow::Result<Vec<usize>> {
    let parts = line.split([',', ' ', '\t']).map(str::trim).filter(|part| !part.is_empty());
    let mut all = parts
        .map(|part| match part.parse::<usize>() {
            Ok(number) if (1..=count).contains(&number) => Ok(number - 1),
            _ => anyhow::bail!("'{part}' is no number from 1 to {count}"),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIASES: [&str; 5] = ["gpt-4o", "gpt-4o-mini", "claude-opus-4.5", "Qwen3-8B", "grok-4-fast"];

    #[test]
    fn part_of_an_alias_is_enough() {
        for (typed, alias) in [
            ("GPT-4o", Some("gpt-4o")),
            ("4omini", Some("gpt-4o-mini")),
            ("opus45", Some("claude-opus-4.5")),
            ("qwen 3", Some("Qwen3-8B")),
            ("gpt", None),
            ("llama", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(meant(typed, &ALIASES).ok(), alias, "{typed}");
        }
        let several = meant("4o-", &ALIASES).unwrap_err().to_string();
        assert!(several.contains("gpt-4o, gpt-4o-mini"), "{several}");
    }

    #[test]
    fn new_aliases_are_plain_and_free() {
        let taken = ["meta-llama-3-8b".to_owned(), "Meta-Llama-3-8b-2".to_owned()];
        assert_eq!(alias_for("meta/Llama-3:8b", &taken), "meta-llama-3-8b-3");
        assert_eq!(alias_for("qwen3:4b", &taken), "qwen3-4b");
        for (file, alias) in [
            ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "qwen2.5-0.5b-instruct"),
            ("tiny.IQ3_XS.gguf", "tiny"),
            ("model-bf16.gguf", "model"),
            ("q8_0.gguf", "q8_0"),
            ("gemma-3-it-quality.gguf", "gemma-3-it-quality"),
        ] {
            assert_eq!(alias_of_file(file, &[]), alias, "{file}");
        }
    }

    #[test]
    fn numbers_are_picked_in_any_spelling() {
        assert_eq!(picked("3, 1 3,,2", 3).unwrap(), [0, 1, 2]);
        assert!(picked("", 3).unwrap().is_empty());
        for bad in ["0", "4", "x", "1-2"] {
            assert!(picked(bad, 3).is_err(), "{bad}");
        }
    }
}
