//! The animations of a client's avatar, as a chat request brings them along.

use serde_json::Value;

use crate::fields::Fields;

/// An animation that a client's avatar can play.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Animation {
    /// Its name, at most 255 characters.
    pub name: String,
    /// What it shows; may be empty.
    pub description: String,
}

/// Most animations of a request.
const MOST_ANIMATIONS: usize = 256;
/// Longest name of an animation, in characters.
const ANIMATION_NAME_MAX: usize = 255;
/// Longest description of an animation, in characters.
const ANIMATION_DESCRIPTION_MAX: usize = 1000;

/// Reads the request's list; complaints go to `fields`.
pub(crate) fn read(fields: &mut Fields<'_>) -> Vec<Animation> {
    let list = fields.list("animations").some().map(Vec::as_slice).unwrap_or_default();
    if list.len() > MOST_ANIMATIONS {
        fields.complain("too_long", "animations", format!("List should have at most {MOST_ANIMATIONS} items"));
        return Vec::new();
    }
    let mut animations = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let read = Fields::of("body", item).and_then(|mut item| {
            let name = item.required_text("name", ANIMATION_NAME_MAX).trim().to_owned();
            let description = item.text_max("description", ANIMATION_DESCRIPTION_MAX).some().unwrap_or_default();
            item.finish()?;
            Ok(Animation { name, description: description.trim().to_owned() })
        });
        match read {
            Ok(animation) => animations.push(animation),
            Err(complaints) => {
                let place = [Value::from("animations"), Value::from(index)];
                fields.add(complaints.into_iter().map(|complaint| complaint.under(&place)));
            }
        }
    }
    animations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fields::Complaint;

    fn read_list(list: Value) -> Result<Vec<Animation>, Vec<Complaint>> {
        let body = json!({"animations": list});
        let mut fields = Fields::of("body", &body)?;
        let animations = read(&mut fields);
        fields.finish().map(|()| animations)
    }

    #[test]
    fn animations_are_read_and_bounded() {
        let animations = read_list(json!([{"name": "wave", "description": " says hello "}, {"name": "nod"}]));
        let animations = animations.unwrap_or_default();
        let names: Vec<_> = animations.iter().map(|a| (a.name.as_str(), a.description.as_str())).collect();
        assert_eq!(names, [("wave", "says hello"), ("nod", "")]);
        assert_eq!(read_list(Value::Null), Ok(Vec::new()));
        let bad = read_list(json!([{"name": "ok"}, {"name": "n".repeat(256)}, {"description": "x"}, 3]));
        let kinds: Vec<String> = bad.err().unwrap_or_default().into_iter().map(|complaint| complaint.kind).collect();
        assert_eq!(kinds, ["string_too_long", "missing", "dict_type"]);
        assert!(read_list(vec![json!({"name": "a"}); 257].into()).is_err());
    }
}
