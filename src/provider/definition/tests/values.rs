//! Whatever a message, a setting or an answer holds, it stays a value: what is made is decoded by somebody else's
//! parser and is exactly what was meant, or it is refused.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::provider::Provider as _;
use crate::simulator::{APPLICATION_ID, VONAGE_PRIVATE_KEY, VONAGE_PUBLIC_KEY};

static BUILT_IN: LazyLock<BTreeMap<Arc<str>, Arc<Definition>>> = LazyLock::new(|| builtin().expect("valid"));
static WEBHOOK: LazyLock<HttpProvider> = LazyLock::new(|| provider(BUILT_IN["webhook"].as_ref().clone(), &[]));
static WHOLE_PROVIDER: LazyLock<HttpProvider> = LazyLock::new(|| whole(&[("account", "AC1")]));

static TWILIO: LazyLock<HttpProvider> = LazyLock::new(|| {
    let settings = [("account_sid", "AC1"), ("auth_token", "t")];
    at_home(BUILT_IN["twilio"].as_ref().clone(), &settings)
});
static VONAGE: LazyLock<HttpProvider> = LazyLock::new(|| vonage(APPLICATION_ID));

fn vonage(application: &str) -> HttpProvider {
    let account = [("api_key", "k"), ("api_secret", "s")];
    let application = [("application_id", application), ("private_key", VONAGE_PRIVATE_KEY)];
    at_home(BUILT_IN["vonage"].as_ref().clone(), &[account, application].concat())
}

/// A provider whose requests go where its definition says.
fn at_home(definition: Definition, settings: &[(&str, &str)]) -> HttpProvider {
    let mut given = ProviderSettings::new("test");
    given.settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    HttpProvider::new(given, Arc::new(definition), Clock::system()).expect("usable settings")
}

/// Anything, and often what means something to some syntax.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(
            prop::sample::select(vec![
                "\r\n",
                "\0",
                "\"",
                "'",
                "&a=b",
                "+",
                "%00",
                "%2e%2e",
                "{code}",
                "{{",
                "}",
                "/",
                "\\",
                "?",
                "#",
                "..",
                "<Say>",
                "</Say><Hangup/>",
                "</speak>",
                "<speak>",
                "&amp;",
                "&#0;",
                "<!--",
                "<?xml?>",
                "]]>",
                "\u{202e}",
                "😀",
                "é",
                " ",
                "X-Evil: 1",
                "\u{7f}",
            ]),
            0..8
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn hostile_message() -> impl Strategy<Value = Message> {
    (hostile(), hostile(), hostile(), hostile(), hostile()).prop_map(|(text, sender, code, tenant, purpose)| Message {
        text: Secret::new(text),
        sender: Some(sender.into()),
        code: Some(Secret::new(code)),
        tenant,
        purpose,
        ..message()
    })
}

/// A call of everything that is hostile, its language and extension too.
fn hostile_call() -> impl Strategy<Value = Message> {
    (hostile_message(), hostile(), prop::option::of(hostile())).prop_map(|(message, language, extension)| {
        let to = PhoneNumber::parse("+14155552671", None).expect("valid");
        Message { language, address: Address::Voice { to, extension }, ..message }
    })
}

/// Whether XML can hold it, said in the words of the standard: no control character but three, no surrogate (of
/// which Rust has none), not the two last of the first plane.
fn fits_xml(text: &str) -> bool {
    let is_forbidden =
        |c: char| (c.is_ascii_control() && !"\t\n\r\u{7f}".contains(c)) || "\u{fffe}\u{ffff}".contains(c);
    !text.chars().any(is_forbidden)
}

/// An element as somebody else reads it: its name, its attributes, the texts and elements in it.
#[derive(Debug, PartialEq)]
struct Parsed {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Result<Parsed, String>>,
}

fn parsed(node: roxmltree::Node<'_, '_>) -> Parsed {
    let attributes = node.attributes().map(|one| (one.name().to_owned(), one.value().to_owned())).collect();
    let child = |child: roxmltree::Node<'_, '_>| match child.text().filter(|_| child.is_text()) {
        Some(text) => Err(text.to_owned()),
        None => Ok(parsed(child)),
    };
    Parsed { name: node.tag_name().name().to_owned(), attributes, children: node.children().map(child).collect() }
}

fn element(name: &str, attributes: &[(&str, &str)], children: Vec<Result<Parsed, String>>) -> Parsed {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Parsed { name: name.to_owned(), attributes, children }
}

/// A text as it stands in an element: nothing at all where it is empty.
fn spoken(text: &str) -> Option<Result<Parsed, String>> {
    (!text.is_empty()).then(|| Err(text.to_owned()))
}

/// Any answer; its body often has what a definition looks for.
fn any_reply() -> impl Strategy<Value = Reply> {
    let scalar = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec!["21211", "30007", "accepted", "recipient", "481516"]).prop_map(Value::from),
        Just(Value::Null),
    ];
    let keys = prop::sample::select(vec!["sid", "id", "code", "error_code", "result", "message", "num_segments"]);
    let json = prop::collection::btree_map(keys, scalar, 0..5)
        .prop_map(|object| serde_json::json!(object).to_string().into_bytes());
    let status = prop::sample::select(vec!["0", "1", "6", "481516", "", "99"]);
    let part =
        (status, any::<String>()).prop_map(|(status, id)| serde_json::json!({"status": status, "message-id": id}));
    let parts = prop::collection::vec(part, 0..4)
        .prop_map(|parts| serde_json::json!({"messages": parts, "message-count": "2"}).to_string().into_bytes());
    let body = prop_oneof![json, parts, prop::collection::vec(any::<u8>(), 0..200)];
    let hint = prop::option::of((0u64..86_400).prop_map(Duration::from_secs));
    prop_oneof![
        4 => (100u16..1_000, hint, body)
            .prop_map(|(status, retry_after, body)| Reply::Answered { status, retry_after, body: body.into() }),
        1 => (100u16..1_000, any::<String>()).prop_map(|(status, why)| Reply::Torn { status, why }),
        1 => any::<String>().prop_map(|why| Reply::NotSent { why }),
        1 => any::<String>().prop_map(|why| Reply::Unfit { why }),
        1 => (100u16..1_000).prop_map(|status| Reply::Refused { status, retry_after: None, body: "481516".into() }),
        1 => any::<String>().prop_map(|why| Reply::InDoubt { why }),
    ]
}

proptest! {
    #[test]
    fn no_answer_breaks_what_holds_for_every_definition(reply in any_reply(), nth in any::<prop::sample::Index>()) {
        let spoken: Vec<_> = BUILT_IN.values().flat_map(|one| one.channels().map(move |channel| (one, channel))).collect();
        let (definition, channel) = spoken[nth.index(spoken.len())];
        let verdict = definition.classify(channel, &reply);
        match &reply {
            Reply::NotSent { .. } => prop_assert_eq!(verdict.result, AttemptResult::Transient),
            Reply::Unfit { .. } => prop_assert_eq!(verdict.result, AttemptResult::Content),
            Reply::Refused { .. } => prop_assert_eq!(verdict.result, AttemptResult::Provider),
            Reply::InDoubt { .. } => prop_assert_eq!(verdict.result, AttemptResult::Unknown),
            Reply::Answered { status, .. } | Reply::Torn { status, .. } => match status {
                300..400 => prop_assert_eq!(verdict.result, AttemptResult::Provider),
                500..600 => prop_assert_ne!(verdict.result, AttemptResult::Accepted),
                100..200 | 600.. => prop_assert_eq!(verdict.result, AttemptResult::Unknown),
                _ => {}
            },
        }
        let shown = verdict.message_id.iter().chain(&verdict.code);
        prop_assert!(shown.clone().all(|text| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic())));
        prop_assert!(verdict.code.as_deref() != Some("481516"), "a one-time code that came back as an error code");
        prop_assert!(verdict.detail.as_ref().is_none_or(|detail| detail.chars().count() <= 256));
        prop_assert!(verdict.result != AttemptResult::Accepted || verdict.retry_after.is_none());
    }

    #[test]
    fn json_decodes_to_the_very_values(message in hostile_message()) {
        let made = request(&WEBHOOK, &message);
        let body: BTreeMap<String, Value> = serde_json::from_slice(&made.body).expect("JSON");
        let expected = serde_json::json!({
            "reference": "r-1", "channel": "sms", "to": "+14155552671", "from": message.sender,
            "text": message.text.expose(), "code": message.code.as_ref().map(Secret::expose), "language": "en",
            "purpose": message.purpose, "tenant": message.tenant, "expires_in": 91,
        });
        prop_assert_eq!(serde_json::to_value(&body).expect("JSON"), expected);
    }

    #[test]
    fn a_header_has_the_very_value_or_is_refused(reference in hostile()) {
        let message = Message { reference: reference.clone(), ..message() };
        if let Ok(made) = WHOLE_PROVIDER.request(&message, Timestamp::EPOCH) {
            prop_assert_eq!(made.headers.len(), 3);
            prop_assert_eq!(made.headers["idempotency-key"].as_bytes(), reference.as_bytes());
            prop_assert!(reference.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        }
    }

    #[test]
    fn whatever_stands_in_a_file_it_is_loaded_or_refused(edit in hostile(), at in 0..WHOLE.len()) {
        if WHOLE.is_char_boundary(at) {
            let _ = Definition::parse("test", "test.toml", &format!("{}{edit}{}", &WHOLE[..at], &WHOLE[at..]));
        }
    }
}

/// One long name among the variables must not open a circuit for everybody.
#[tokio::test]
async fn a_text_that_can_not_be_sent_is_refused_here_and_blames_no_provider() {
    let most = |provider: &HttpProvider, text: String| {
        let to = PhoneNumber::parse("+14155552671", None).expect("valid");
        let sender = Some("+15005550006".into());
        let address = Address::Voice { to, extension: None };
        provider.request(&Message { address, sender, text: Secret::new(text), ..message() }, Timestamp::EPOCH).err()
    };
    let (short, long) = ("é".repeat(1_000), "&".repeat(900));
    assert_eq!((most(&TWILIO, short.clone()), most(&VONAGE, short)), (None, None));
    let too_long = |place: &str, longest| Some(request::Unfit::TooLong { place: place.to_owned(), longest });
    assert_eq!(most(&TWILIO, long.clone()), too_long("Response", 4_000), "what is written counts, not what is said");
    assert_eq!(most(&VONAGE, long), too_long("speak", 1_500));
    let unfit = Message { sender: None, ..message() };
    let reply = VONAGE.send(&unfit, Clock::instant() + Duration::from_secs(1)).await;
    let verdict = VONAGE.classify(&unfit, &reply);
    assert_eq!(verdict.result, AttemptResult::Content, "{reply:?}");
    assert_eq!(verdict.detail.as_deref(), Some("`from` asks for `sender_digits`, which this message has not"));
}

proptest! {
    #[test]
    fn twiml_reads_as_the_very_text_or_is_refused(message in hostile_call()) {
        let text = message.text.expose();
        let made = TWILIO.request(&message, Timestamp::EPOCH);
        if !fits_xml(text) {
            prop_assert_eq!(made.err(), Some(request::Unfit::Xml("Say".into())));
            return Ok(());
        }
        let made = made.expect("fits");
        let mut fields: BTreeMap<String, String> = form_urlencoded::parse(&made.body).into_owned().collect();
        let xml = fields.remove("Twiml").expect("its instructions");
        let document = roxmltree::Document::parse(&xml).expect("well formed");
        let say = document.root_element().last_element_child().expect("what is said");
        let language = say.attribute("language").expect("a language");
        let voice = say.attribute("voice").expect("a voice");
        prop_assert!([language, voice].iter().all(|word| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))));
        let pause = Ok(element("break", &[("time", "1s")], Vec::new()));
        let expected = element("Response", &[], vec![
            Ok(element("Pause", &[("length", "1")], Vec::new())),
            Ok(element(
                "Say",
                &[("language", language), ("loop", "2"), ("voice", voice)],
                spoken(text).into_iter().chain([pause]).collect(),
            )),
        ]);
        prop_assert_eq!(parsed(document.root_element()), expected);
        let Address::Voice { extension, .. } = &message.address else { panic!("a call") };
        let digits = extension.as_ref().map(|digits| ("SendDigits", format!("WW{digits}WWWWWWWW")));
        let sender = message.sender.as_deref().unwrap_or_default();
        let others = [("To", "+14155552671"), ("From", sender), ("Timeout", "25"), ("TimeLimit", "90")];
        let others = others.map(|(name, value)| (name, value.to_owned()));
        let expected: BTreeMap<_, _> =
            others.into_iter().chain(digits).map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(fields, expected);
    }

    #[test]
    fn an_ncco_reads_as_the_very_text_or_is_refused(message in hostile_call()) {
        let text = message.text.expose();
        let made = VONAGE.request(&message, Timestamp::EPOCH);
        if !fits_xml(text) {
            prop_assert_eq!(made.err(), Some(request::Unfit::Xml("speak".into())));
            return Ok(());
        }
        let made = made.expect("fits");
        let mut body: Value = serde_json::from_slice(&made.body).expect("JSON");
        let talk = body["ncco"][0].as_object_mut().expect("one action");
        let Some(Value::String(ssml)) = talk.remove("text") else { panic!("a text") };
        let document = roxmltree::Document::parse(&ssml).expect("well formed");
        let pause = Ok(element("break", &[("time", "1s")], Vec::new()));
        let expected = element("speak", &[], std::iter::once(pause).chain(spoken(text)).collect());
        prop_assert_eq!(parsed(document.root_element()), expected);
        let (language, style) = (talk.remove("language"), talk.remove("style"));
        prop_assert!(language.is_some_and(|tag| tag.as_str().is_some_and(|tag| tag.len() <= 6 && tag.is_ascii())));
        prop_assert!(style.is_some_and(|style| style.is_u64()));
        let Address::Voice { extension, .. } = &message.address else { panic!("a call") };
        let mut to = serde_json::json!({"type": "phone", "number": "14155552671"});
        if let Some(digits) = extension {
            to["dtmfAnswer"] = format!("pp{digits}").into();
        }
        let sender = message.sender.as_deref().unwrap_or_default().trim_start_matches('+');
        let expected = serde_json::json!({
            "to": [to], "from": {"type": "phone", "number": sender}, "ringing_timer": 60, "length_timer": 90,
            "machine_detection": "hangup", "ncco": [{"action": "talk", "loop": 2}],
        });
        prop_assert_eq!(body, expected);
    }

    #[test]
    fn a_form_of_vonage_decodes_to_the_very_values(message in hostile_message()) {
        let made = request(&VONAGE, &message);
        let mut fields: Vec<(String, String)> = form_urlencoded::parse(&made.body).into_owned().collect();
        let alphabet = fields.remove(2);
        let sender = message.sender.as_deref().unwrap_or_default().trim_start_matches('+');
        let text = message.text.expose();
        let expected =
            [("from", sender), ("to", "14155552671"), ("text", text), ("ttl", "90001"), ("client-ref", "r-1")];
        prop_assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        prop_assert!(["text", "unicode"].map(|word| ("type".to_owned(), word.to_owned())).contains(&alphabet));
        // Letters and digits are in both alphabets, and no astral character is in GSM's.
        prop_assert!(alphabet.1 == "text" || !text.bytes().all(|b| b.is_ascii_alphanumeric()));
        prop_assert!(alphabet.1 == "unicode" || text.chars().all(|c| u32::from(c) < 0x1_0000));
    }
}

proptest! {
    // Each case builds a client, which reads the system's certificates.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_form_decodes_to_the_very_values(message in hostile_message(), service in hostile()) {
        let twilio = BUILT_IN["twilio"].as_ref().clone();
        let service = format!("MG{service}");
        let settings = [("account_sid", "AC1"), ("auth_token", "t"), ("messaging_service_sid", service.as_str())];
        let made = request(&provider(twilio, &settings), &message);
        let fields: Vec<(String, String)> = form_urlencoded::parse(&made.body).into_owned().collect();
        let expected = [
            ("To", "+14155552671"),
            ("From", message.sender.as_deref().unwrap_or_default()),
            ("MessagingServiceSid", &service),
            ("Body", message.text.expose()),
            ("ValidityPeriod", "91"),
        ];
        prop_assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        prop_assert!(made.body.is_ascii());
    }

    #[test]
    fn a_token_claims_the_very_application(application in hostile()) {
        let application = format!("a{application}");
        let call = Message {
            address: Address::Voice { to: PhoneNumber::parse("+14155552671", None).expect("valid"), extension: None },
            sender: Some("+15005550006".into()),
            ..message()
        };
        let made = request(&vonage(&application), &call);
        let header = made.headers["authorization"].to_str().expect("text");
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(VONAGE_PUBLIC_KEY.as_bytes()).expect("a key");
        let token = header.strip_prefix("Bearer ").expect("a bearer");
        let claims = jsonwebtoken::decode::<BTreeMap<String, Value>>(token, &key, &rules).expect("signed").claims;
        prop_assert_eq!(&claims["application_id"], &Value::from(application));
        prop_assert_eq!(claims.keys().map(String::as_str).collect::<Vec<_>>(), ["application_id", "exp", "iat", "jti"]);
        prop_assert_eq!((&claims["iat"], &claims["exp"]), (&0.into(), &900.into()));
        prop_assert_eq!(made.headers.len(), 2);
    }

    #[test]
    fn a_path_keeps_its_segments_and_its_host(account in hostile(), reference in hostile()) {
        let text = WHOLE.replace("Idempotency-Key = \"{reference}\"\n", "");
        let definition = Definition::parse("test", "test.toml", &text).expect("valid");
        let account = format!("a{account}");
        let message = Message { reference: format!("r{reference}"), ..message() };
        let provider = provider(definition, &[("account", &account), ("key", "k")]);
        if account.contains(|c: char| c.is_ascii_control()) || reference.contains(|c: char| c.is_ascii_control()) {
            prop_assert_eq!(provider.request(&message, Timestamp::EPOCH).err(), Some(request::Unfit::Segment));
            return Ok(());
        }
        let made = request(&provider, &message);
        prop_assert_eq!(made.url.host_str(), Some("example.com"));
        prop_assert_eq!((made.url.query(), made.url.fragment()), (None, None));
        // As a server reads it, from the text of the address.
        let text = made.url.to_string();
        let path = text.strip_prefix("https://example.com/").expect("the same host");
        let segments: Vec<_> = path.split('/').map(percent_decoded).collect();
        prop_assert_eq!(segments, ["base", "v1", account.as_str(), message.reference.as_str()].map(str::to_owned));
    }
}

fn percent_decoded(segment: &str) -> String {
    // A form decodes percent signs alike; what means more in a form than in a path is put out of the way.
    let pair = format!("k={}", segment.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
