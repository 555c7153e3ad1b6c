//! The texts of `mfa-courier check`: each as a person would get it, and what it costs as a text message.
//!
//! The code has six digits; what `vars` would give is not known here and counts as a name of usual length.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::challenge::Channel;
use crate::delivery::compose::Style;
use crate::delivery::message::{DEFAULT_TEXT, Text, Texts, Wording};
use crate::delivery::segments::{Size, is_gsm7, measure};

const SAMPLE_CODE: &str = "123456";
/// Stands for a value that upstream gives.
const SAMPLE_VALUE: &str = "Contoso Bank";

/// One wording of one text.
pub(super) struct Sample<'t> {
    tenant: Option<&'t str>,
    channel: Channel,
    language: &'t str,
    name: &'t str,
    /// Which wording, from 1; `None` where there is only one.
    wording: Option<usize>,
    title: Option<String>,
    text: String,
    /// Of a text message.
    size: Option<Size>,
}

/// Every text: those for everybody, then each tenant's own, and those that its style makes other than everybody's.
pub(super) fn samples(texts: &Texts) -> Vec<Sample<'_>> {
    let general = &texts.general;
    let mut samples: Vec<_> = general.iter().flat_map(|text| of_text(None, text, general.style())).collect();
    for (tenant, own) in &texts.tenants {
        let style_differs = own.style() != general.style();
        // Its own text of the same name goes before, and so does its default.
        let is_hidden = |name: &str, language: &str| {
            own.iter().any(|(channel, own_name, text)| {
                channel == Channel::Sms && text.language == language && [name, DEFAULT_TEXT].contains(&own_name)
            })
        };
        let restyled = general.iter().filter(|(channel, name, text)| {
            style_differs && *channel == Channel::Sms && !is_hidden(name, &text.language)
        });
        samples.extend(own.iter().chain(restyled).flat_map(|text| of_text(Some(tenant), text, own.style())));
    }
    samples
}

fn of_text<'t>(
    tenant: Option<&'t str>,
    (channel, name, text): (Channel, &'t str, &'t Text),
    style: &Style,
) -> Vec<Sample<'t>> {
    let several = text.wordings.len() > 1;
    let sample = |(at, wording): (usize, &Wording)| {
        let said = wording.said(channel, style, Some(SAMPLE_CODE), &|_| Some(SAMPLE_VALUE.to_owned()))?;
        let size = (channel == Channel::Sms).then(|| measure(said.text.expose()));
        Some(Sample {
            tenant,
            channel,
            language: &text.language,
            name,
            wording: several.then_some(at + 1),
            title: said.title,
            text: said.text.expose().to_owned(),
            size,
        })
    };
    text.wordings.iter().enumerate().filter_map(sample).collect()
}

impl Sample<'_> {
    /// What an operator should know of a text message of several segments.
    pub(super) fn warning(&self) -> Option<String> {
        let size = self.size.filter(|size| size.segments > 1)?;
        let whose = self.tenant.map(|tenant| format!("tenant {tenant}: ")).unwrap_or_default();
        let mut outside: Vec<char> = Vec::new();
        for c in self.text.chars().filter(|c| !is_gsm7(*c)) {
            if !outside.contains(&c) {
                outside.push(c);
            }
        }
        let because = match outside.as_slice() {
            [] => String::new(),
            // More than these are not slips but the language's own.
            few if few.len() <= 5 => {
                let few: Vec<_> = few.iter().map(|c| format!("{c:?}")).collect();
                format!(", since GSM-7 lacks {}", few.join(", "))
            }
            _ => String::new(),
        };
        Some(format!(
            "{whose}the {} text message {} takes {} segments: {} units of {}{because}",
            self.language,
            self.label(),
            size.segments,
            size.units,
            size.encoding.as_str(),
        ))
    }

    fn label(&self) -> String {
        self.wording.map_or_else(|| self.name.to_owned(), |n| format!("{} ({n})", self.name))
    }

    fn characters(&self) -> usize {
        self.title.iter().chain([&self.text]).map(|text| text.chars().count()).sum()
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "tenant": self.tenant,
            "channel": self.channel,
            "language": self.language,
            "name": self.name,
            "wording": self.wording.unwrap_or(1),
            "title": self.title,
            "text": self.text,
            "characters": self.characters(),
            "encoding": self.size.map(|size| size.encoding.as_str()),
            "units": self.size.map(|size| size.units),
            "segments": self.size.map(|size| size.segments),
        })
    }

    fn encoding(&self) -> &'static str {
        self.size.map_or("-", |size| size.encoding.as_str())
    }

    fn segments(&self) -> String {
        self.size.map_or_else(|| "-".to_owned(), |size| size.segments.to_string())
    }

    fn cells(&self) -> [String; 6] {
        [
            self.channel.to_string(),
            self.language.to_owned(),
            self.label(),
            self.encoding().to_owned(),
            self.characters().to_string(),
            self.segments(),
        ]
    }

    /// A line of figures, and below it all that a person gets.
    fn whole(&self) -> String {
        let [channel, language, label, encoding, characters, segments] = self.cells();
        let mut figures = format!("{channel} {language} {label}: {characters} characters");
        if self.size.is_some() {
            let plural = if segments == "1" { "" } else { "s" };
            let _ = write!(figures, " of {encoding}, {segments} segment{plural}");
        }
        let lines = self.title.iter().chain([&self.text]).flat_map(|text| text.lines());
        lines.fold(figures, |whole, line| whole + "\n    " + line) + "\n"
    }
}

/// Everybody's texts, then each tenant's: a table of figures, or each with all of its words.
pub(super) fn shown(samples: &[Sample<'_>], in_full: bool) -> String {
    let mut shown = String::new();
    for group in samples.chunk_by(|a, b| a.tenant == b.tenant) {
        let whose = group[0].tenant.map(|tenant| format!(" of tenant {tenant}")).unwrap_or_default();
        let texts = if in_full { group.iter().map(Sample::whole).collect() } else { table(group) };
        let _ = writeln!(shown, "texts{whose} (code {SAMPLE_CODE}, other values {SAMPLE_VALUE:?}):\n{texts}");
    }
    shown
}

fn table(samples: &[Sample<'_>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["channel", "language", "text", "encoding", "characters", "segments"]);
    table.add_rows(samples.iter().map(Sample::cells));
    for at in [4, 5] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}
