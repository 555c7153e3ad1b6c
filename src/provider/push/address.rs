//! Addresses that devices give: where a browser or Windows wants its prompts sent.
//!
//! Whoever registers a device chooses its address, so it may lead anywhere: into our own network, or to somebody who
//! wants our credentials. So only hosts that are on a list are written to, by https and on its own port.

use url::{Host, Url};

/// Hosts by their whole names, or all below one, as `*.notify.windows.com`.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Hosts(Vec<String>);

impl Hosts {
    /// Reads names with commas or spaces between them; `None` where one is none, or there is none.
    pub(in crate::provider) fn parse(text: &str) -> Option<Self> {
        let parts = text.split([',', ' ', '\n']).filter(|part| !part.is_empty());
        let names = parts.map(|part| {
            let name = part.strip_prefix("*.").unwrap_or(part);
            let is_name = matches!(Host::parse(name), Ok(Host::Domain(read)) if read == name) && name.contains('.');
            is_name.then(|| part.to_owned())
        });
        let names: Option<Vec<_>> = names.collect();
        names.filter(|names| !names.is_empty()).map(Self)
    }

    /// The address, where it is one that may be written to.
    pub(in crate::provider) fn admit(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let plain = url.scheme() == "https" && url.port().is_none() && url.fragment().is_none();
        let nobody = url.username().is_empty() && url.password().is_none();
        let Some(Host::Domain(host)) = url.host() else { return None };
        let is_listed = |name: &String| match name.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == name,
        };
        (plain && nobody && self.0.iter().any(is_listed)).then_some(url)
    }
}

/// Where a request to `address` goes: there, or to what stands in for all of them.
pub(in crate::provider) fn by_way_of(base: Option<&Url>, address: &Url) -> Url {
    let Some(base) = base else { return address.clone() };
    let mut url = base.clone();
    let path = format!("{}{}", base.path().trim_end_matches('/'), address.path());
    url.set_path(&path);
    url.set_query(address.query());
    url
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::parse("fcm.googleapis.com, *.notify.windows.com").expect("names")
    }

    #[test]
    fn only_hosts_on_the_list_are_written_to() {
        for good in [
            "https://fcm.googleapis.com/fcm/send/x",
            "https://FCM.googleapis.com/x",
            "https://fcm.googleapis.com:443/x",
            "https://db5p.notify.windows.com/?token=a%2fb",
            "https://a.b.notify.windows.com/",
            // A slash, to this parser and to the one that the request is made with: they are the same.
            "https://fcm.googleapis.com\\@evil.example/x",
        ] {
            assert!(hosts().admit(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "x",
            "http://fcm.googleapis.com/x",
            "https://fcm.googleapis.com:8443/x",
            "https://fcm.googleapis.com@evil.example/x",
            "https://user@fcm.googleapis.com/x",
            "https://:pass@fcm.googleapis.com/x",
            "https://fcm.googleapis.com.evil.example/x",
            "https://evilfcm.googleapis.com/x",
            "https://a.fcm.googleapis.com/x",
            "https://notify.windows.com/x",
            "https://evilnotify.windows.com/x",
            "https://.notify.windows.com.evil.example/",
            "https://fcm.googleapis.com./x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://2130706433/x",
            "https://localhost/x",
            "https://169.254.169.254/latest/meta-data",
            "https://fcm.googleapis.com/x#y",
            "file:///etc/passwd",
            "https://fcm\u{3002}googleapis.com.evil/x",
        ] {
            assert!(hosts().admit(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_list_holds_names_alone() {
        for bad in
            ["", " , ", "*", "*.", "https://a.example", "a.example/x", "127.0.0.1", "a.example:1", "com", "A.example"]
        {
            assert!(Hosts::parse(bad).is_none(), "{bad}");
        }
        assert!(Hosts::parse("a.example *.b.example").is_some());
    }

    #[test]
    fn what_stands_in_gets_path_and_query() {
        let base: Url = "http://127.0.0.1:1/wns/main".parse().expect("an address");
        let address: Url = "https://x.notify.windows.com/w/?token=a%2Fb".parse().expect("an address");
        assert_eq!(by_way_of(Some(&base), &address).as_str(), "http://127.0.0.1:1/wns/main/w/?token=a%2Fb");
        assert_eq!(by_way_of(None, &address), address);
    }

    proptest! {
        /// Whatever a device says: an address that is admitted has a host on the list, and nothing of a host elsewhere.
        #[test]
        fn nothing_leads_elsewhere(
            scheme in prop_oneof![Just("https://"), Just("https:"), Just("HTTPS://"), Just("http://"), Just("")],
            parts in prop::collection::vec(prop_oneof![
                Just("fcm.googleapis.com".to_owned()), Just("x.notify.windows.com".to_owned()), "[-a-z0-9.@:/\\\\?#%\\[\\]]{0,6}",
            ], 0..5),
        ) {
            let text = format!("{scheme}{}", parts.concat());
            if let Some(url) = hosts().admit(&text) {
                let host = url.host_str().expect("a host");
                prop_assert!(host == "fcm.googleapis.com" || host.ends_with(".notify.windows.com"), "{text}");
                prop_assert!(url.scheme() == "https" && url.port_or_known_default() == Some(443));
            }
        }
    }
}
