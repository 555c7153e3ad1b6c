//! Vendors' own libraries against ours: for the same message they send the same request, and they can read what
//! ours says. They are Python; `make deps` puts them into `target/peers`. Where they are missing the tests fail:
//! a check that is skipped holds nothing.

mod receipts;
mod vendors;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId};
use mfa_courier::clock::Clock;
use mfa_courier::phone::PhoneNumber;
use mfa_courier::provider::Message;
use mfa_courier::provider::definition::builtin;
use mfa_courier::provider::http::{HttpProvider, ProviderSettings, Request};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{API_KEY, API_SECRET, APPLICATION_ID, VONAGE_PRIVATE_KEY, VONAGE_PUBLIC_KEY};
use serde_json::{Value, json};

/// Texts that mean something to some syntax, and such as people get. (None has a carriage return, which Twilio's
/// library lets XML fold into a line end.)
const TEXTS: [&str; 6] = [
    "Your code is 4, 8, 1, 5, 1, 6.",
    "<Say>&amp;\"'</Say><!-- ]]> <?x ?>",
    "</speak><speak>Größe: 5€ 👍 验证码 код",
    "a\nb\tc  d\u{a0}e",
    "{code} &To=+1 %2B \\\" \u{202e}",
    "<speak>481516</speak>",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python of the virtual environment, which has what is asked for.
fn python() -> PathBuf {
    let (wanted, home) = (root().join("tests/peers/requirements.txt"), root().join("target/peers"));
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let there = read(home.join("requirements.txt"));
    assert!(there.is_some(), "the vendors' libraries are not installed: run `make deps`");
    assert_eq!(there, read(wanted), "the vendors' libraries are not those that are asked for: run `make deps`");
    home.join("bin/python")
}

/// Starts a program of `tests/peers`, which is spoken to by its stdin and stdout.
pub(crate) fn spawn(program: &str) -> Child {
    Command::new(python())
        .arg("-I")
        .arg(root().join("tests/peers").join(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts")
}

/// Tells a program of `tests/peers` something, and gives its answer.
pub(crate) fn ask(program: &str, told: &Value) -> Value {
    let mut child = spawn(program);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(told.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {}, see above", output.status);
    serde_json::from_slice(&output.stdout).expect("its answer is JSON")
}

fn provider(kind: &str, set: &[(&str, &str)]) -> HttpProvider {
    let mut given = ProviderSettings::new(kind);
    given.settings = set.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    HttpProvider::new(given, Arc::clone(&builtin().expect("valid")[kind]), Clock::system()).expect("usable")
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, None).expect("a number")
}

fn sms() -> Address {
    Address::Sms { to: number("+33612345678") }
}

fn voice(extension: Option<&str>) -> Address {
    Address::Voice { to: number("+442079460000"), extension: extension.map(str::to_owned) }
}

fn message(address: Address, sender: &str, text: &str, language: &str) -> Message {
    Message {
        challenge: ChallengeId::parse("c-1").expect("valid"),
        title: None,
        reference: "r1-abcdef".into(),
        address,
        sender: Some(sender.into()),
        text: Secret::new(text),
        code: Some(Secret::new("481516")),
        language: language.into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_secs(90),
        callback_url: None,
    }
}

fn request(provider: &HttpProvider, message: &Message) -> Request {
    provider.request(message, Clock::system().now()).expect("fits")
}

fn form(request: &Request) -> BTreeMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn authorization(request: &Request) -> &str {
    request.headers["authorization"].to_str().expect("text")
}

fn said(request: &Request, form: &BTreeMap<String, String>) -> Value {
    json!({
        "method": format!("{:?}", request.method).to_uppercase(), "url": request.url.as_str(), "form": form,
        "authorization": authorization(request),
    })
}

fn assert_same(ours: &[Value], theirs: &Value) {
    let theirs = theirs.as_array().expect("one each");
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn twilio_sends_the_same_and_reads_our_twiml_alike() {
    let (account, token) = ("AC00000000000000000000000000000000", "s3cr3t");
    let twilio = provider("twilio", &[("account_sid", account), ("auth_token", token)]);
    let (mut cases, mut ours, mut twiml) = (Vec::new(), Vec::new(), Vec::new());
    for text in TEXTS {
        for (extension, language, tag, speaker) in
            [(None, "en-GB", "en-GB", "Polly.Amy"), (Some("42"), "xx", "en-US", "Polly.Joanna")]
        {
            let made = request(&twilio, &message(voice(extension), "+15005550006", text, language));
            let fields = form(&made);
            twiml.push(fields["Twiml"].clone());
            ours.push(said(&made, &fields));
            cases.push(json!({
                "channel": "voice", "to": "+442079460000", "sender": "+15005550006", "text": text, "validity": 25,
                "language": tag, "voice": speaker, "extension": extension,
            }));
        }
        let made = request(&twilio, &message(sms(), "Contoso", text, "en"));
        ours.push(said(&made, &form(&made)));
        cases.push(json!({
            "channel": "sms", "to": "+33612345678", "sender": "Contoso", "text": text, "validity": 90,
        }));
    }
    let told = json!({"account_sid": account, "auth_token": token, "cases": cases, "twiml": twiml});
    let answer = ask("check_twilio.py", &told);
    let mut read = answer["twiml"].as_array().expect("one each").iter();
    for said in ours.iter_mut().filter(|said| said["form"]["Twiml"].is_string()) {
        said["form"]["Twiml"] = read.next().expect("one each").clone();
    }
    assert_same(&ours, &answer["sent"]);
}

#[test]
fn vonage_sends_the_same_messages() {
    let vonage = provider("vonage", &[("api_key", API_KEY), ("api_secret", API_SECRET)]);
    let (mut cases, mut ours) = (Vec::new(), Vec::new());
    for (nth, text) in TEXTS.into_iter().enumerate() {
        for (sender, plain) in [("+15005550006", "15005550006"), ("Contoso", "Contoso")] {
            let made = request(&vonage, &message(sms(), sender, text, "en"));
            ours.push(said(&made, &form(&made)));
            cases.push(json!({
                "to": "33612345678", "sender": plain, "text": text, "validity": 90_000, "reference": "r1-abcdef",
                "type": if [0, 1, 5].contains(&nth) { "text" } else { "unicode" },
            }));
        }
    }
    let told = json!({"api_key": API_KEY, "api_secret": API_SECRET, "messages": cases, "calls": []});
    assert_same(&ours, &ask("check_vonage.py", &told)["messages"]);
}

#[test]
fn vonage_places_the_same_calls_and_pyjwt_verifies_our_token() {
    let set = [("application_id", APPLICATION_ID), ("private_key", VONAGE_PRIVATE_KEY)];
    let vonage = provider("vonage", &set);
    let (mut cases, mut ours) = (Vec::new(), Vec::new());
    for text in TEXTS {
        for (extension, language, tag, style) in
            [(None, "en-GB", "en-GB", 0), (Some("42"), "th", "th-TH", 1), (None, "xx", "en-US", 0)]
        {
            let made = request(&vonage, &message(voice(extension), "+15005550006", text, language));
            let body: Value = serde_json::from_slice(&made.body).expect("JSON");
            cases.push(json!({
                "to": "442079460000", "sender": "15005550006", "validity": 60, "language": tag, "style": style,
                "extension": extension, "ssml": body["ncco"][0]["text"], "authorization": authorization(&made),
            }));
            ours.push((made, body, text));
        }
    }
    let told = json!({
        "application_id": APPLICATION_ID, "private_key": VONAGE_PRIVATE_KEY, "public_key": VONAGE_PUBLIC_KEY,
        "messages": [], "calls": cases,
    });
    let answer = ask("check_vonage.py", &told);
    let theirs = answer["calls"].as_array().expect("one each");
    assert_eq!(theirs.len(), ours.len());
    for ((made, body, text), theirs) in ours.iter().zip(theirs) {
        assert_eq!((&theirs["method"], &theirs["url"]), (&json!("POST"), &json!(made.url.as_str())));
        assert_eq!(&theirs["json"], body);
        assert_eq!((&theirs["spoken"], &theirs["text"]), (&json!(["speak", "break"]), &json!(text)));
        let claims = &theirs["claims"];
        assert_eq!((&theirs["scheme"], &claims["application_id"]), (&json!("Bearer"), &json!(APPLICATION_ID)));
        let time = |name: &str| claims[name].as_i64().expect("seconds");
        assert_eq!(time("exp") - time("iat"), 900);
        // The same as theirs: no more and no less.
        assert_eq!(theirs["header"], theirs["their_header"]);
        let mut names: Vec<_> = claims.as_object().expect("claims").keys().cloned().collect();
        names.sort();
        assert_eq!(json!(names), theirs["their_claims"]);
    }
}
