//! What this room asks of the provider room's catalogue.

use greenroom_provider::{Catalogue, ModelType};

use crate::compatibility::ModelTypes;
use crate::model_choice::{Look, Shelf};

impl Shelf for Catalogue {
    fn look(&self, name: &str) -> Look {
        let Some(definition) = self.get(name) else { return Look::Unknown };
        let alias = definition.alias.clone();
        match self.availability(&alias) {
            Ok(()) => Look::Ready(alias),
            Err(reason) => Look::Unavailable { alias, reason },
        }
    }

    fn ready(&self) -> Vec<String> {
        let ready = self.iter().filter(|definition| self.availability(&definition.alias).is_ok());
        let (echoes, others): (Vec<_>, Vec<_>) = ready.partition(|definition| definition.kind == ModelType::Echo);
        others.into_iter().chain(echoes).map(|definition| definition.alias.clone()).collect()
    }
}

impl ModelTypes for Catalogue {
    fn of_alias(&self, alias: &str) -> Option<(String, String)> {
        self.get(alias).map(|definition| (definition.alias.clone(), definition.public_type().to_owned()))
    }

    fn of_name(&self, name: &str) -> Vec<String> {
        let named = self.iter().filter(|definition| {
            definition.alias.eq_ignore_ascii_case(name) || definition.public_model_id() == Some(name)
        });
        named.map(|definition| definition.public_type().to_owned()).collect()
    }
}
