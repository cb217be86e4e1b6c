//! Who may ask.

use crate::server::start;

#[test]
fn another_name_is_refused_unless_allowed() {
    let server = start(&["--allowed-hosts", "a.example,b.example"]);
    let ask = |host: &str| server.exchange(&format!("GET /api/status HTTP/1.1\nConnection: close\n{host}\n"));
    for host in ["Host: 127.0.0.1:1\n", "Host: localhost\n", "Host: [::1]\n", "Host: b.example:8080\n"] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
    let error = ask("Host: evil.example\n").error(403);
    assert!(error.contains("evil.example") && error.contains("--allowed-hosts"), "{error}");
    assert_eq!(ask("").status, 403);
}

#[test]
fn pages_of_other_sites_may_not_compute() {
    let server = start(&[]);
    let ask = |headers: &str| server.request("GET", "/api/generate?max_tokens=1", headers).status;
    assert_eq!(ask("Sec-Fetch-Site: same-origin\nOrigin: http://localhost\n"), 200);
    assert_eq!(ask("Sec-Fetch-Site: none\n"), 200);
    for headers in ["Sec-Fetch-Site: cross-site\n", "Origin: http://evil.example\n", "Origin: null\n"] {
        assert_eq!(ask(headers), 403, "{headers}");
    }
}
