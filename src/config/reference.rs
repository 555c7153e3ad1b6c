//! The commented defaults, read as what they are to people: each section and each setting with its text.
//!
//! [`super::schema`] and the reference in `docs/` are made from this, so that what a setting does is written once, in
//! `config/courier.toml`. Its form: a comment begins with `# `, a setting without a default with `#` and its key.

use super::DEFAULTS;

/// A table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its steps; empty at the top, and `<name>` where people choose the name.
    pub path: Vec<String>,
    /// Whether there is one for each `[[…]]`.
    pub repeats: bool,
    /// What stands above it.
    pub about: String,
    /// In the file's order.
    pub settings: Vec<Setting>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its default, or an example, as TOML.
    pub value: String,
    /// Whether `value` holds where nothing else is said.
    pub is_default: bool,
    /// What it does.
    pub about: String,
}

/// What people choose, as the commented defaults name it, and what stands for it here.
const CHOSEN: [(&str, &str); 2] = [("providers", "<name>"), ("tenants", "<name>")];

/// Every section, in the file's order; of one that stands there twice, as examples do, the settings are put together.
#[must_use]
pub fn sections() -> Vec<Section> {
    let top = Section { path: Vec::new(), repeats: false, about: String::new(), settings: Vec::new() };
    let (mut sections, mut current, mut comment) = (vec![top], 0, String::new());
    for line in DEFAULTS.lines() {
        let bare = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        if let Some(text) = line.strip_prefix("# ") {
            comment.extend([if comment.is_empty() { "" } else { " " }, text]);
        } else if bare.starts_with('[') {
            current = enter(&mut sections, bare, std::mem::take(&mut comment));
        } else if let Some((key, value)) = bare.split_once(" = ") {
            let setting = Setting {
                key: key.to_owned(),
                value: value.to_owned(),
                is_default: bare == line,
                about: std::mem::take(&mut comment),
            };
            add(&mut sections[current].settings, setting);
        } else {
            comment.clear();
        }
    }
    sections
}

/// The position of the section that this header begins.
fn enter(sections: &mut Vec<Section>, header: &str, about: String) -> usize {
    let name = header.trim_matches(['[', ']']);
    let mut path: Vec<String> = name.split('.').map(str::to_owned).collect();
    if let Some((_, chosen)) = CHOSEN.iter().find(|(first, _)| path.len() > 1 && path[0] == *first) {
        (*chosen).clone_into(&mut path[1]);
    }
    if let Some(known) = sections.iter().position(|section| section.path == path) {
        return known;
    }
    sections.push(Section { path, repeats: header.starts_with("[["), about, settings: Vec::new() });
    sections.len() - 1
}

/// What is told of a key first, counts.
fn add(settings: &mut Vec<Setting>, setting: Setting) {
    if !settings.iter().any(|known| known.key == setting.key) {
        settings.push(setting);
    }
}

impl Section {
    /// As a configuration writes it: `broker.names`, or nothing at the top.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_and_setting_is_told_of() {
        let sections = sections();
        let find = |name: &str| sections.iter().find(|section| section.name() == name).expect("there");
        let heartbeat = find("broker").settings.iter().find(|setting| setting.key == "heartbeat").expect("there");
        assert_eq!((heartbeat.value.as_str(), heartbeat.is_default), ("\"5s\"", true));
        assert!(heartbeat.about.starts_with("How often each side shows that it lives"), "{}", heartbeat.about);
        let kind = find("providers.<name>").settings.iter().find(|setting| setting.key == "kind").expect("there");
        assert!(!kind.is_default);
        assert!(find("routes").repeats && !find("tenants.<name>").repeats);
        for section in &sections {
            for setting in &section.settings {
                let value = format!("v = {}", setting.value);
                assert!(value.parse::<toml::Table>().is_ok(), "{}.{} = {}", section.name(), setting.key, setting.value);
            }
        }
    }

    /// Whoever adds a setting explains it.
    #[test]
    fn every_section_has_text() {
        let silent: Vec<_> = sections()
            .iter()
            .filter(|section| section.about.is_empty() && section.settings.iter().all(|one| one.about.is_empty()))
            .map(Section::name)
            .collect();
        assert_eq!(silent, [""; 0]);
    }
}
