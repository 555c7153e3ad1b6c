//! The message contract as JSON Schemas: what upstream may publish, and what the courier publishes.
//!
//! Outcomes are described by the very types that are written. What comes in is read field by field in [`super::challenge`],
//! so that a refusal names the field; its shapes stand here. Guarantee (held by tests): what the reader accepts is valid, and
//! what it refuses for its form is not, but for lengths that it counts in bytes. Unknown fields are allowed everywhere.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::json;

use crate::challenge::{ChallengeId, Channel, Fallback};
use crate::clock::Timestamp;
use crate::delivery::outcome::Outcome;

/// What no text may hold.
const NO_CONTROL: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// One request to get a code or an approval prompt to a person.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(
    rename = "Challenge",
    extend(
        "if" = json!({
            "required": ["methods"],
            "properties": {"methods": {"contains": {
                "required": ["channel"], "properties": {"channel": {"enum": ["sms", "voice"]}},
            }}},
        }),
        "then" = json!({"required": ["code"], "properties": {"code": {"type": "string"}}}),
    )
)]
pub struct ChallengeBody {
    /// Unique for each challenge: the idempotency key.
    id: ChallengeId,
    /// Always 1.
    #[schemars(range(min = 1, max = 1))]
    version: Option<u32>,
    /// Echoed in outcomes, for support.
    #[schemars(length(min = 1, max = 256), regex(pattern = NO_CONTROL))]
    session_id: Option<String>,
    /// Echoed in outcomes, for support.
    #[schemars(length(min = 1, max = 256), regex(pattern = NO_CONTROL))]
    user_id: Option<String>,
    /// Whose policy, limits and texts apply; `default` where it is absent.
    #[schemars(regex(pattern = r"^[a-z0-9._-]{1,64}$"))]
    tenant: Option<String>,
    /// `sign_in` (where it is absent), `password_reset`, `registration`, `transaction`, or any other.
    #[schemars(length(min = 1, max = 64), regex(pattern = NO_CONTROL))]
    purpose: Option<String>,
    /// The one-time code, the same on every hop; needed for sms and voice. Secret.
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]{1,16}$"))]
    code: Option<String>,
    /// When upstream made it; the AMQP `timestamp`, else arrival, where it is absent.
    issued_at: Option<Timestamp>,
    /// Nothing is sent after this. Of `expires_at` and `ttl` the earlier counts, and never more than `delivery.max_ttl`.
    expires_at: Option<Timestamp>,
    /// Seconds from arrival: safe with skewed clocks.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    ttl: Option<f64>,
    /// BCP 47; the tenant's where it is absent.
    #[schemars(length(min = 1), regex(pattern = NO_CONTROL))]
    locale: Option<String>,
    /// Which text; by purpose where it is absent.
    #[schemars(length(min = 1, max = 64), regex(pattern = NO_CONTROL))]
    template: Option<String>,
    /// Template variables.
    vars: Option<Texts>,
    /// In order of preference.
    #[schemars(length(min = 1, max = 8))]
    methods: Vec<MethodBody>,
    /// How far the courier may go beyond the first hop of its plan; `auto` where it is absent.
    fallback: Option<Fallback>,
}

/// Names and texts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(inline, extend("maxProperties" = 32, "propertyNames" = json!({"maxLength": 64})))]
struct Texts(BTreeMap<String, TextValue>);

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(inline)]
struct TextValue(#[schemars(length(max = 512))] String);

/// One way to reach the person.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(rename = "Method", untagged)]
enum MethodBody {
    Known(KnownMethod),
    Other(OtherMethod),
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(tag = "channel", rename_all = "snake_case")]
enum KnownMethod {
    /// A text message; one-way only.
    Sms(SmsBody),
    /// A call that speaks the code.
    Voice(VoiceBody),
    /// A prompt on a registered device.
    Push(Box<PushBody>),
}

/// A channel that this version does not know: the method is skipped.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
struct OtherMethod {
    #[schemars(length(min = 1, max = 32), extend("not" = json!({"enum": Channel::ALL.map(Channel::as_str)})))]
    channel: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
struct SmsBody {
    /// Echoed in outcomes.
    #[schemars(length(min = 1, max = 128), regex(pattern = NO_CONTROL))]
    id: Option<String>,
    /// E.164, ASCII: `+14155552671`. Secret.
    to: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
struct VoiceBody {
    /// Echoed in outcomes.
    #[schemars(length(min = 1, max = 128), regex(pattern = NO_CONTROL))]
    id: Option<String>,
    /// E.164, ASCII: `+14155552671`. Secret.
    to: String,
    /// Digits to dial after the call is answered.
    #[schemars(regex(pattern = r"^[0-9]{1,16}$"))]
    extension: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(extend("allOf" = json!([
    on_platforms(&["android", "ios", "windows", "huawei"], "string"),
    on_platforms(&["web"], "object"),
])))]
struct PushBody {
    /// Echoed in outcomes.
    #[schemars(length(min = 1, max = 128), regex(pattern = NO_CONTROL))]
    id: Option<String>,
    /// `android`, `ios`, `windows`, `web` or `huawei`; a method of any other is skipped.
    #[schemars(length(min = 1, max = 32))]
    platform: String,
    /// The token; for `web` the subscription object, for `windows` the channel URI. Secret.
    #[schemars(with = "Option<serde_json::Value>")]
    token: Option<String>,
    /// Which configured app it belongs to.
    #[schemars(length(min = 1, max = 64), regex(pattern = NO_CONTROL))]
    app: Option<String>,
    /// When upstream last saw it register.
    registered_at: Option<Timestamp>,
    /// Shown on the sign-in page; never put into the payload.
    #[schemars(length(min = 1, max = 16), regex(pattern = NO_CONTROL))]
    number_match: Option<String>,
    /// Where from, which app.
    context: Option<Texts>,
}

/// What a token has to be on these platforms.
fn on_platforms(platforms: &[&str], kind: &str) -> serde_json::Value {
    json!({
        "if": {"required": ["platform"], "properties": {"platform": {"enum": platforms}}},
        "then": {"required": ["token"], "properties": {"token": {"type": kind}}},
    })
}

/// `challenge.cancelled`: nothing more is sent.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(rename = "Cancelled")]
pub struct CancelledBody {
    /// Which challenge.
    id: ChallengeId,
    /// For people; not looked at.
    #[schemars(with = "Option<serde_json::Value>")]
    reason: Option<String>,
}

/// `challenge.verified`: the person entered the code, or approved. Nothing more is sent.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape: only its schema is used")]
#[schemars(rename = "Verified")]
pub struct VerifiedBody {
    /// Which challenge.
    id: ChallengeId,
    /// Which channel it came by, where upstream knows. What is no channel counts as not known.
    #[schemars(with = "Option<serde_json::Value>")]
    channel: Option<Channel>,
    /// Which provider it came by, where upstream knows.
    #[schemars(with = "Option<serde_json::Value>")]
    provider: Option<String>,
    /// When.
    #[schemars(with = "Option<serde_json::Value>")]
    verified_at: Option<Timestamp>,
}

/// A message of the contract that has a schema of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// What upstream asks.
    Challenge,
    /// That upstream gave it up.
    Cancelled,
    /// That the person used the code.
    Verified,
    /// What the courier tells.
    Outcome,
}

impl Body {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Challenge, Self::Cancelled, Self::Verified, Self::Outcome];

    /// Its name in files and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Cancelled => "cancelled",
            Self::Verified => "verified",
            Self::Outcome => "outcome",
        }
    }

    /// Its schema, by JSON Schema 2020-12.
    #[must_use]
    pub fn schema(self) -> Schema {
        let settings = SchemaSettings::draft2020_12();
        match self {
            Self::Challenge => settings.into_generator().into_root_schema_for::<ChallengeBody>(),
            Self::Cancelled => settings.into_generator().into_root_schema_for::<CancelledBody>(),
            Self::Verified => settings.into_generator().into_root_schema_for::<VerifiedBody>(),
            // What is written: a field that may be null is there all the same.
            Self::Outcome => settings.for_serialize().into_generator().into_root_schema_for::<Outcome>(),
        }
    }
}
