//! What must never be remembered: passwords, keys, card and account numbers (memory.md §8.8). Pure; when in doubt, a secret.

/// Words that make a statement one about a secret, whatever else it says.
const ALWAYS: [&str; 15] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "contraseña",
    "wachtwoord",
    "apikey",
    "api-key",
    "api_key",
    "seedphrase",
    "cvv",
    "cvc",
];
/// Pairs of words that do.
const PAIRS: [(&str, &str); 12] = [
    ("api", "key"),
    ("api", "token"),
    ("access", "token"),
    ("access", "key"),
    ("private", "key"),
    ("secret", "key"),
    ("seed", "phrase"),
    ("recovery", "phrase"),
    ("pin", "code"),
    ("pin", "number"),
    ("security", "code"),
    ("mot", "passe"),
];
/// Words that do when a value is given for them.
const WITH_VALUE: [&str; 7] = ["pin", "token", "secret", "key", "tan", "otp", "login"];
/// Fewest characters of something that looks like a key.
const KEY_LENGTH: usize = 20;

/// Whether a statement gives away a secret.
pub(crate) fn is_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '(' | ')' | '“' | '”'))
        .map(|word| word.trim_matches(['.', '\'', '!', '?', '`', '*']))
        .filter(|word| !word.is_empty())
        .collect();
    let bare = |word: &str| word.trim_end_matches([':', '=']).to_owned();
    let named = words.iter().any(|word| ALWAYS.contains(&bare(word).as_str()));
    let paired = words.windows(2).any(|pair| {
        PAIRS.iter().any(|(first, second)| *first == bare(pair[0]) && *second == bare(pair[1]))
            || (bare(pair[0]) == "mot" && pair[1] == "de")
    });
    named
        || paired
        || gives_value(&words)
        || text.split_whitespace().any(looks_like_key)
        || has_card(text)
        || has_iban(text)
}

/// "pin: 1234", "the token is x7y8z9".
fn gives_value(words: &[&str]) -> bool {
    words.iter().enumerate().any(|(at, word)| {
        let told = word.ends_with([':', '='])
            || matches!(words.get(at + 1), Some(&("is" | "=" | ":" | "ist" | "est" | "es" | "lautet")));
        let value = words.iter().skip(at + 1).take(3).any(|next| next.chars().any(|c| c.is_ascii_digit()));
        let joined =
            word.split_once(['=', ':']).is_some_and(|(name, value)| WITH_VALUE.contains(&name) && !value.is_empty());
        joined || (told && value && WITH_VALUE.contains(&word.trim_end_matches([':', '='])))
    })
}

/// Twenty and more characters of letters and digits that change often between the two, or of all kinds at once.
fn looks_like_key(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if word.contains("://") || word.contains('@') {
        return false;
    }
    word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '.'))).any(|part| {
        let kinds = part.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.is_ascii_digit()).collect::<Vec<bool>>();
        let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let has = |what: fn(&u8) -> bool| part.bytes().any(|b| what(&b));
        let all_kinds = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        kinds.len() >= KEY_LENGTH && (changes >= 4 || (all_kinds && changes >= 2))
    })
}

/// Thirteen to nineteen digits, perhaps in groups, that pass the check of payment cards.
fn has_card(text: &str) -> bool {
    let mut digits: Vec<u32> = Vec::new();
    let mut separated = false;
    for c in text.chars().chain(['x']) {
        match c.to_digit(10) {
            Some(digit) => {
                digits.push(digit);
                separated = false;
            }
            None if matches!(c, ' ' | '-') && !separated && !digits.is_empty() => separated = true,
            None => {
                if (13..=19).contains(&digits.len()) && luhn(&digits) {
                    return true;
                }
                digits.clear();
                separated = false;
            }
        }
    }
    false
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// An international bank account number whose check digits are right, perhaps in groups of four.
fn has_iban(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    (0..words.len()).any(|begin| {
        let mut joined = String::new();
        words[begin..].iter().take(9).any(|word| {
            joined.extend(word.chars().filter(char::is_ascii_alphanumeric));
            (15..=34).contains(&joined.len()) && iban(&joined.to_uppercase())
        })
    })
}

fn iban(text: &str) -> bool {
    let (head, rest) = text.split_at(4);
    let country = head.bytes().take(2).all(|b| b.is_ascii_uppercase());
    let check = head.bytes().skip(2).all(|b| b.is_ascii_digit());
    let mut remainder = 0_u32;
    for c in rest.chars().chain(head.chars()) {
        let Some(value) = c.to_digit(36) else { return false };
        remainder = (remainder * if value > 9 { 100 } else { 10 } + value) % 97;
    }
    country && check && remainder == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_recognised() {
        for secret in [
            "The user's password is hunter2.",
            "User's Wi-Fi Passwort: geheim",
            "The API key of the user is sk-abc",
            "The user's PIN is 4711",
            "token=abc",
            "Uses sk-proj-a1B2c3D4e5F6g7H8i9J0 for work",
            "Pays with 4111 1111 1111 1111",
            "Card 5500-0000-0000-0004 belongs to the user",
            "Account DE89 3704 0044 0532 0130 00",
            "The IBAN is GB82WEST12345698765432.",
            "The user's seed phrase is apple banana",
            "the CVV: 123",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
    }

    #[test]
    fn everyday_facts_are_none() {
        for fact in [
            "The user has two dogs named Rex and Max.",
            "The user was born on 1990-04-12 in Saint-Denis.",
            "The user's phone has 128 GB and cost 1299 euros in 2024.",
            "The user holds the key to the community garden.",
            "The user's email is ann.example2024@mail.example.org.",
            "The user reads https://example.org/articles/2024/05/how-to-bake-bread-101",
            "The user's counter-revolutionary-sounding surname is Donaudampfschifffahrt.",
            "The user's number is 0123456789012.",
            "The user collects tokens from board games.",
        ] {
            assert!(!is_secret(fact), "{fact}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = is_secret(&text);
        }
    }
}
