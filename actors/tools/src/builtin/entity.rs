//! Which entity of the house a name means. Pure.
//!
//! Invariant: nothing that locks, arms or opens the house is ever chosen by likeness.

/// Domains whose entities guard the house.
const GUARDED_DOMAINS: [&str; 4] = ["lock", "alarm_control_panel", "siren", "valve"];
/// Domains whose entities open nothing, whatever they are called.
const HARMLESS_DOMAINS: [&str; 10] =
    ["light", "sensor", "binary_sensor", "climate", "media_player", "fan", "humidifier", "vacuum", "weather", "person"];
/// Words in the name of something that opens the house, alone or at the end of another word.
const GUARDED_WORDS: [&str; 10] =
    ["garage", "gate", "door", "alarm", "entrance", "garagentor", "tuer", "haustur", "schloss", "doorlock"];
/// The same, only alone.
const GUARDED_ALONE: [&str; 3] = ["lock", "tor", "tur"];
/// Words that end like one of those and are none.
const UNGUARDED_WORDS: [&str; 2] = ["outdoor", "indoor"];
/// Words that say what a thing is and not which.
const KIND_WORDS: [&str; 9] = ["light", "lights", "lamp", "lamps", "switch", "switches", "the", "plug", "outlet"];
/// Entities that are looked at.
const MOST_IDS: usize = 200;
/// Longest id.
const MOST_CHARS: usize = 128;
/// Least score of a choice.
const ENOUGH: f64 = 0.55;

/// `domain.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityId(String);

impl EntityId {
    /// The id, if the text is exactly one.
    pub(super) fn exact(text: &str) -> Option<Self> {
        let (domain, name) = text.split_once('.')?;
        let word = |part: &str, digits: bool| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || (digits && byte.is_ascii_digit()))
        };
        (text.len() <= MOST_CHARS && word(domain, false) && word(name, true)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it locks, arms or opens the house, or may.
    pub(super) fn is_guarded(&self) -> bool {
        let opens = |word: &String| {
            let word = word.as_str();
            GUARDED_ALONE.contains(&word)
                || (!UNGUARDED_WORDS.contains(&word) && GUARDED_WORDS.iter().any(|end| word.ends_with(end)))
        };
        GUARDED_DOMAINS.contains(&self.domain())
            || (!HARMLESS_DOMAINS.contains(&self.domain()) && words(self.name()).iter().any(opens))
    }

    fn domain(&self) -> &str {
        self.0.split_once('.').map_or("", |(domain, _)| domain)
    }

    fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

/// What a name means.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    One(EntityId),
    /// Nothing clearly; these are similar, the nearest first.
    None(Vec<EntityId>),
}

/// The domain that a name states, and at most four patterns to look it up with, the most exact first.
pub(super) fn patterns(name: &str) -> (Option<String>, Vec<String>) {
    let lower = name.trim().to_lowercase();
    let (domain, tail) = match lower.split_once('.') {
        Some((domain, tail)) if EntityId::exact(&format!("{domain}.x")).is_some() => (Some(domain), tail),
        _ => (None, lower.as_str()),
    };
    let said = words(tail);
    let telling: Vec<&str> = said
        .iter()
        .map(String::as_str)
        .filter(|word| word.chars().count() >= 3 && !KIND_WORDS.contains(word) && word.chars().any(char::is_alphabetic))
        .collect();
    let longest = telling.iter().max_by_key(|word| word.chars().count()).copied().unwrap_or_default();
    let mut patterns: Vec<String> = Vec::new();
    for candidate in [tail.to_owned(), said.join("_"), telling.join("_"), longest.to_owned()] {
        if !candidate.is_empty() && !patterns.contains(&candidate) {
            patterns.push(candidate);
        }
    }
    (domain.map(str::to_owned), patterns)
}

/// The ids that a text names, each once.
pub(super) fn ids_in(text: &str) -> Vec<EntityId> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut ids: Vec<EntityId> = Vec::new();
    for run in text.split(|c: char| !belongs(c)) {
        if ids.len() == MOST_IDS {
            break;
        }
        if let Some(id) = EntityId::exact(run.trim_end_matches('.')).filter(|id| !ids.contains(id)) {
            ids.push(id);
        }
    }
    ids
}

/// The one known entity that a name clearly means.
pub(super) fn choose(name: &str, known: &[EntityId]) -> Choice {
    let lower = name.trim().to_lowercase();
    let (domain, tail) = match lower.split_once('.') {
        Some((domain, tail)) => (domain, tail),
        None => ("", lower.as_str()),
    };
    let wanted = words(tail);
    let mut scored: Vec<(f64, bool, &EntityId)> = known
        .iter()
        // A stated domain is meant.
        .filter(|id| domain.is_empty() || id.domain() == domain)
        .map(|id| {
            let theirs = words(id.name());
            let shared = wanted.iter().any(|word| !KIND_WORDS.contains(&word.as_str()) && theirs.contains(word));
            let mut score = likeness(&wanted.concat(), &theirs.concat());
            score += if shared { 0.3 } else { 0.0 };
            score += if id.domain() == "light" && stands_for_several(&theirs) { 0.05 } else { 0.0 };
            (score, shared, id)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near = || scored.iter().map(|(_, _, id)| (*id).clone()).collect();
    let meant = |score: f64, shared: bool| shared && score >= ENOUGH;
    // Something guarded that could be meant as well forbids every guess.
    let guarded = scored.iter().any(|(score, shared, id)| meant(*score, *shared) && id.is_guarded());
    match scored.as_slice() {
        [(score, shared, id), rest @ ..] if meant(*score, *shared) && !guarded => {
            let tied = rest.first().is_some_and(|(second, ..)| score - second < f64::EPSILON);
            if tied { Choice::None(near()) } else { Choice::One((*id).clone()) }
        }
        _ => Choice::None(near()),
    }
}

/// A light that is a room's or a group's, not one bulb.
fn stands_for_several(words: &[String]) -> bool {
    words.iter().any(|word| matches!(word.as_str(), "group" | "all" | "lights"))
        || !words.iter().any(|word| word.bytes().any(|byte| byte.is_ascii_digit()))
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// How alike two words are: the share of pairs of letters they have in common, 0 to 1.
fn likeness(a: &str, b: &str) -> f64 {
    let pairs = |text: &str| {
        let letters: Vec<char> = text.chars().take(MOST_CHARS).collect();
        letters.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
    };
    if a == b {
        return 1.0;
    }
    let (ours, mut theirs) = (pairs(a), pairs(b));
    let total = ours.len() + theirs.len();
    if total == 0 {
        return 0.0;
    }
    let mut shared = 0;
    for pair in ours {
        if let Some(at) = theirs.iter().position(|other| *other == pair) {
            theirs.swap_remove(at);
            shared += 1;
        }
    }
    2.0 * f64::from(shared) / total as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(list: &[&str]) -> Vec<EntityId> {
        list.iter().map(|id| EntityId::exact(id).expect("an id")).collect()
    }

    fn one(id: &str) -> Choice {
        Choice::One(EntityId::exact(id).expect("an id"))
    }

    #[test]
    fn ids_are_found_in_any_text() {
        let text = r#"Found: light.kitchen, "light.kitchen" (Kitchen.) switch.pump_2. See http://ha.local:8123/x 1.5 V Light.Loud"#;
        assert_eq!(ids_in(text), ids(&["light.kitchen", "switch.pump_2", "ha.local"]));
        assert_eq!(ids_in(&"a.b ".repeat(10)).len(), 1);
        let many: String = (0..1000).map(|at| format!("light.l{at} ")).collect();
        assert_eq!(ids_in(&many).len(), MOST_IDS);
    }

    #[test]
    fn a_name_leads_to_its_entity() {
        let house = ids(&[
            "light.kitchen",
            "light.kitchen_2",
            "light.living_room",
            "switch.kitchen_fan",
            "cover.bedroom_blind",
        ]);
        assert_eq!(choose("kitchen light", &house), one("light.kitchen"));
        assert_eq!(choose("Living Room", &house), one("light.living_room"));
        assert_eq!(choose("switch.kitchen", &house), one("switch.kitchen_fan"));
        assert_eq!(choose("bedroom blind", &house), one("cover.bedroom_blind"));
        assert!(matches!(choose("attic", &house), Choice::None(_)));
        assert!(matches!(choose("", &house), Choice::None(_)));
        assert_eq!(choose("attic", &[]), Choice::None(Vec::new()));
    }

    #[test]
    fn two_that_are_equally_near_are_not_chosen_between() {
        let house = ids(&["switch.desk_left", "fan.desk_left"]);
        assert!(matches!(choose("desk left", &house), Choice::None(near) if near.len() == 2));
    }

    #[test]
    fn what_guards_the_house_is_never_chosen() {
        for id in [
            "lock.front",
            "cover.garage",
            "cover.garage_door",
            "alarm_control_panel.home",
            "switch.gate",
            "button.haustur",
            "valve.water",
        ] {
            let (_, name) = id.split_once('.').expect("an id");
            for said in [id, name, &name.replace('_', " ")] {
                assert!(matches!(choose(said, &ids(&[id])), Choice::None(_)), "{said}");
                let rival = format!("light.{name}");
                assert!(matches!(choose(said, &ids(&[&rival, id])), Choice::None(_)), "{said} beside {rival}");
            }
        }
        for id in
            ["light.kitchen", "cover.bedroom_blind", "light.garage", "switch.outdoor", "switch.clock", "switch.monitor"]
        {
            assert!(!EntityId::exact(id).expect("an id").is_guarded(), "{id}");
        }
    }

    #[test]
    fn few_questions_are_asked_about_a_name() {
        let (domain, asked) = patterns("light.Sun room lamp 2");
        assert_eq!(domain.as_deref(), Some("light"));
        assert_eq!(asked, ["sun room lamp 2", "sun_room_lamp_2", "sun_room", "room"]);
        assert_eq!(patterns(" Küche "), (None, vec!["küche".to_owned()]));
        assert_eq!(patterns(" ").1, Vec::<String>::new());
    }

    #[test]
    fn likeness_is_a_share() {
        assert!((likeness("kitchen", "kitchen") - 1.0).abs() < f64::EPSILON);
        assert!(likeness("kitchen", "kitchn") > 0.7 && likeness("kitchen", "attic") < 0.4);
        assert!(likeness("", "").is_finite() && likeness("a", "b") < 0.01);
    }

    proptest! {
        #[test]
        fn no_name_breaks_anything(name in ".{0,60}", text in "[a-z._ 0-9é]{0,120}") {
            let known = ids_in(&text);
            let (_, asked) = patterns(&name);
            prop_assert!(asked.len() <= 4 && asked.iter().all(|pattern| !pattern.is_empty()));
            if let Choice::One(id) = choose(&name, &known) {
                prop_assert!(!id.is_guarded() && known.contains(&id));
            }
        }
    }
}
