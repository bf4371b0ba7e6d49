//! Which origins may connect. Input: a rule as in `server.allowed_origins`, then on the second line an origin.

use refresh_relay::config::OriginRule;
use url::Url;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (rule_text, origin) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(rule) = rule_text.parse::<OriginRule>() else { return };
    if !rule.allows(origin) {
        assert_ne!(rule, OriginRule::Any);
        return;
    }
    assert!(rule.allows(&origin.to_ascii_uppercase()), "an origin is the same in capitals");
    match &rule {
        OriginRule::Any => {}
        OriginRule::Exact(exact) => assert_eq!(&origin.to_ascii_lowercase(), exact),
        OriginRule::Below { scheme, domain } => {
            // A browser would read it as a host below that domain too.
            let Ok(url) = Url::parse(origin) else { return };
            let Some(host) = url.host_str().map(str::to_ascii_lowercase) else { return };
            let below = domain.split_once(':').map_or(domain.as_str(), |(domain, _)| domain);
            let Ok(domain) = Url::parse(&format!("{scheme}x{below}")) else { return };
            let domain = domain.host_str().and_then(|host| host.strip_prefix('x')).unwrap_or_default();
            assert!(host.ends_with(domain) && host.len() > domain.len(), "{host} is not below {domain}");
        }
    }
}
