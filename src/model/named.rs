//! The macro `named!`, which defines an enum with one name for each variant.

/// Defines an enum of unit variants. The literal after each variant is its name in JSON and the result of `name`. `ALL`
/// lists the variants in ascending order.
macro_rules! named {
    ($(#[$about:meta])* $vis:vis enum $Enum:ident { $($(#[$doc:meta])* $Variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $Enum {
            $($(#[$doc])* #[serde(rename = $name)] $Variant,)+
        }

        #[allow(dead_code, reason = "some enums are neither listed nor printed")]
        impl $Enum {
            /// Every variant, in ascending order.
            $vis const ALL: [$Enum; [$($name),+].len()] = [$($Enum::$Variant),+];

            /// Returns the name that every output uses.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self {
                    $($Enum::$Variant => $name,)+
                }
            }

            /// Returns the variant with this name.
            #[must_use]
            $vis fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }
        }
    };
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    #[test]
    fn json_and_name_agree() {
        named! {
            enum Fruit { Pear = "pear", BloodOrange = "blood-orange" }
        }
        assert_eq!(Fruit::ALL.map(Fruit::name), ["pear", "blood-orange"]);
        for fruit in Fruit::ALL {
            let json = serde_json::to_string(&fruit).unwrap();
            assert_eq!(json, format!("\"{}\"", fruit.name()));
            assert_eq!(serde_json::from_str::<Fruit>(&json).unwrap(), fruit);
        }
    }
}
