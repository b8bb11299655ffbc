//! The directives of Apache httpd that decide who has access.

/// The access that a section gives.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// The section has no directive about access.
    #[default]
    Inherited,
    Everyone,
    /// The section refuses clients, asks for a login, or is not understood.
    Restricted,
}

/// A group of `Require` directives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Any,
    All,
    None,
    /// The directives are not about the methods that write.
    Ignored,
}

/// The directives of a section about access.
pub(super) struct Rules {
    /// The open groups, each with the results of its `Require` directives: whether everyone fulfils them. A directive
    /// that refuses only some addresses is left out. Without a group, one directive is enough.
    groups: Vec<(Group, Vec<bool>)>,
    /// Whether a file in the directory, a condition or another directive decides.
    pub(super) is_unclear: bool,
    /// The directives of mod_access_compat.
    order: Option<Order>,
    allows_everyone: bool,
    denies_everyone: bool,
    /// Whether the address or a login is enough (`Satisfy any`).
    one_is_enough: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    DenyAllow,
    AllowDeny,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            groups: vec![(Group::Any, Vec::new())],
            is_unclear: false,
            order: None,
            allows_everyone: false,
            denies_everyone: false,
            one_is_enough: false,
        }
    }
}

impl Rules {
    /// Returns the access that the directives give together.
    pub(super) fn access(&self) -> Access {
        let Some((_, results)) = self.groups.first() else { return Access::Restricted };
        let by_require = (!results.is_empty()).then(|| results.contains(&true));
        let by_address = self.order.map(|order| match order {
            Order::AllowDeny => self.allows_everyone && !self.denies_everyone,
            Order::DenyAllow => self.allows_everyone || !self.denies_everyone,
        });
        let lets_in = match (by_require, by_address) {
            (Some(by_require), Some(by_address)) if self.one_is_enough => by_require || by_address,
            (Some(by_require), by_address) => by_require && by_address != Some(false),
            (None, Some(true)) if self.one_is_enough => true,
            (None, Some(false)) => false,
            // The outer sections decide.
            (None, _) if !self.is_unclear => return Access::Inherited,
            (None, _) => false,
        };
        if lets_in && !self.is_unclear { Access::Everyone } else { Access::Restricted }
    }

    pub(super) fn open(&mut self, group: Group) {
        self.groups.push((group, Vec::new()));
    }

    /// Closes the innermost group. Its result counts in the group around it.
    pub(super) fn close(&mut self) {
        let [_, .., _] = &self.groups[..] else { return };
        let Some((group, results)) = self.groups.pop() else { return };
        let result = match group {
            Group::Ignored => None,
            _ if results.is_empty() => None,
            Group::Any => Some(results.contains(&true)),
            Group::All => Some(!results.contains(&false)),
            Group::None => Some(false),
        };
        if let Some((_, outer)) = self.groups.last_mut() {
            outer.extend(result);
        }
    }

    /// Reads a directive. Directives that are not about access are ignored.
    pub(super) fn set(&mut self, name: &str, values: &[String]) {
        if self.groups.iter().any(|(group, _)| *group == Group::Ignored) {
            return;
        }
        let is = |wanted: &[&str]| is(values, wanted);
        match name {
            "require" => self.require(values),
            "order" => {
                self.order = Some(if is(&["allow,deny"]) { Order::AllowDeny } else { Order::DenyAllow });
            }
            "allow" => {
                self.order.get_or_insert_default();
                self.allows_everyone |= is(&["from", "all"]);
            }
            "deny" => {
                self.order.get_or_insert_default();
                self.denies_everyone |= is(&["from", "all"]);
            }
            "satisfy" => self.one_is_enough = is(&["any"]),
            // With any other value, an `.htaccess` file in the directory can restrict the access.
            "allowoverride" => self.is_unclear |= !is(&["none"]),
            "authzsvnaccessfile" => self.is_unclear = true,
            "sslverifyclient" => self.is_unclear |= is(&["require"]),
            _ => {}
        }
    }

    fn require(&mut self, values: &[String]) {
        let Some((group, results)) = self.groups.last_mut() else { return };
        let is = |at: usize, text: &str| values.get(at).is_some_and(|value| value.eq_ignore_ascii_case(text));
        let is_address = |at: usize| is(at, "ip") || is(at, "host");
        // `Require not ip` refuses only some clients.
        if !((is(0, "not") && is_address(1)) || (*group == Group::None && is_address(0))) {
            results.push(values.len() == 2 && is(0, "all") && is(1, "granted"));
        }
    }
}

/// Returns the group that a section opens. A section for methods counts only if it is about methods that write.
pub(super) fn group(name: &str, methods: &[String]) -> Option<Group> {
    const WRITING: [&str; 4] = ["PUT", "DELETE", "COPY", "MOVE"];
    let writes = methods.iter().any(|method| WRITING.contains(&method.as_str()));
    match name {
        "requireany" => Some(Group::Any),
        "requireall" => Some(Group::All),
        "requirenone" => Some(Group::None),
        "limit" if writes => Some(Group::Any),
        "limitexcept" if !writes => Some(Group::Any),
        "limit" | "limitexcept" => Some(Group::Ignored),
        _ => None,
    }
}

/// Returns whether the values of a directive are these words.
pub(super) fn is(values: &[String], wanted: &[&str]) -> bool {
    values.len() == wanted.len()
        && values.iter().zip(wanted).all(|(value, is)| value.eq_ignore_ascii_case(is))
}
