//! How many keys of a controller may be in work at once.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::rules::number;

/// How many keys of a controller may be in work at once: a number, or as many as the API server bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many, 1 to 1000.
    Fixed(u32),
    /// From `min` to `max`, led by the API server's latency and by what it sheds, while keys wait.
    Auto {
        /// At least, 1 to 1000; 1 by default.
        min: u32,
        /// At most, `min` to 1000; 16 by default.
        max: u32,
    },
}

impl Concurrency {
    /// `auto` without anything behind it.
    const AUTO: Auto = Auto { min: 1, max: 16 };
}

/// What may stand behind `auto:`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auto {
    #[serde(deserialize_with = "number::<_, 1, 1000>")]
    min: u32,
    #[serde(deserialize_with = "number::<_, 1, 1000>")]
    max: u32,
}

impl Default for Auto {
    fn default() -> Self {
        Concurrency::AUTO
    }
}

impl Auto {
    fn checked<E: Error>(self) -> Result<Concurrency, E> {
        let Self { min, max } = self;
        if min > max {
            return Err(E::custom("auto.min is above auto.max"));
        }
        Ok(Concurrency::Auto { min, max })
    }
}

impl Serialize for Concurrency {
    /// As it may stand in the operator's file.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fixed(number) => serializer.serialize_u32(number),
            Self::Auto { min, max } => serializer.collect_map([("auto", Auto { min, max })]),
        }
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Concurrency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 1 to 1000, `auto`, or `auto: {min, max}`")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Concurrency, E> {
        match u32::try_from(value) {
            Ok(number @ 1..=1000) => Ok(Concurrency::Fixed(number)),
            _ => Err(E::custom("must be from 1 to 1000")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Concurrency, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::custom("must be from 1 to 1000")),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Concurrency, E> {
        match value {
            "auto" => Concurrency::AUTO.checked(),
            _ => Err(E::custom("is neither a number from 1 to 1000 nor `auto`")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Concurrency, A::Error> {
        let mut auto = None;
        while let Some(key) = map.next_key::<String>()? {
            match (&*key, auto) {
                ("auto", None) => auto = Some(map.next_value::<Option<Auto>>()?.unwrap_or_default()),
                _ => return Err(A::Error::custom("only `auto` may stand here, once")),
            }
        }
        auto.ok_or_else(|| A::Error::custom("there is nothing in it: write a number or `auto`"))?
            .checked()
    }
}
