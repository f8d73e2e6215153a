//! The little of HTTP that the command's servers need: requests without a body, each on a connection and a thread of its own.
//!
//! Whoever reaches the port may be any program of this machine, or a page of a browser that was led here under another name. So
//! what tells addresses, or does something, asks for a token that only the starter was told, and a server on loopback answers
//! only to a loopback name.

use super::{peer, said};
use crate::failure::Failure;
use heapglass_inspect::Trouble;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

/// Nobody may keep a thread for longer.
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST_MAX: usize = 16 * 1024;
/// Connections at a time; one more is closed at once.
const MOST: usize = 64;

/// All that a page may load is what this server has; it may be shown in no other page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub struct Request<'a> {
    pub is_post: bool,
    pub path: &'a str,
    query: &'a str,
    /// Which forms it would like, as it says.
    pub accept: &'a str,
}

impl Request<'_> {
    /// The value of a key in the address, the first of them.
    pub fn asked(&self, key: &str) -> Option<String> {
        self.all(key).next()
    }

    pub fn all(&self, key: &str) -> impl Iterator<Item = String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(name, _)| *name == key).map(|(_, value)| decoded(value))
    }
}

pub struct Answer {
    pub status: &'static str,
    pub kind: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn plain(status: &'static str, line: impl Into<String>) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: (line.into() + "\n").into_bytes() }
    }

    pub fn json(body: String) -> Answer {
        Answer::of("application/json", body.into_bytes())
    }

    pub fn of(kind: &'static str, body: Vec<u8>) -> Answer {
        Answer { status: "200 OK", kind, body }
    }

    pub fn not_found(line: impl Into<String>) -> Answer {
        Answer::plain("404 Not Found", line)
    }
}

/// A port that is listened at, and the token for it.
pub struct Door {
    listener: TcpListener,
    pub place: SocketAddr,
    pub token: String,
    /// Only the user who started the command is answered, and root.
    is_personal: bool,
}

impl Door {
    pub fn open(address: IpAddr, port: u16) -> Result<Door, Failure> {
        let place = SocketAddr::new(address, port);
        let listener = TcpListener::bind(place).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => {
                Failure::ours(format!("{place} is taken; choose another with --port, or 0 for any"))
            }
            _ => Failure::ours(format!("can't listen on {place}: {e}")),
        })?;
        let place = listener.local_addr().map_err(|e| Failure::ours(e.to_string()))?;
        Ok(Door { listener, place, token: token()?, is_personal: false })
    }

    /// On loopback, and for the user who started the command alone.
    pub fn personal(port: u16) -> Result<Door, Failure> {
        Ok(Door { is_personal: true, ..Door::open(IpAddr::V4(Ipv4Addr::LOCALHOST), port)? })
    }

    /// Answers whoever comes, for ever.
    pub fn serve(&self, answer: &(dyn Fn(&Request) -> Answer + Sync)) {
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for stream in self.listener.incoming().flatten() {
                if busy.fetch_add(1, Relaxed) >= MOST {
                    busy.fetch_sub(1, Relaxed);
                    continue;
                }
                let busy = &busy;
                scope.spawn(move || {
                    // Whoever goes away in the middle is no failure of ours.
                    let _ = self.converse(stream, answer);
                    busy.fetch_sub(1, Relaxed);
                });
            }
        });
    }

    fn converse(&self, mut stream: TcpStream, answer: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(text) = read_request(&mut stream)? else { return Ok(()) };
        let answer = match self.is_personal && !peer::is_own(&stream) {
            true => Answer::plain("403 Forbidden", "this is another user's"),
            false => answered(self.place.ip(), &text, answer),
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Content-Security-Policy: {POLICY}\r\nConnection: close\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        stream.write_all(head.as_bytes())?;
        if !text.starts_with("HEAD ") {
            stream.write_all(&answer.body)?;
        }
        stream.flush()
    }
}

/// What comes of any bytes that reach a door on loopback; `None` where they are no request.
pub fn answered_bytes(mut bytes: &[u8], answer: &dyn Fn(&Request) -> Answer) -> Option<Answer> {
    let text = read_request(&mut bytes).ok().flatten()?;
    Some(answered(IpAddr::V4(Ipv4Addr::LOCALHOST), &text, answer))
}

fn answered(place: IpAddr, text: &str, answer: &dyn Fn(&Request) -> Answer) -> Answer {
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "HEAD" | "POST") {
        return no_method();
    }
    let header = |name: &str| {
        let all = lines.clone().filter_map(|line| line.split_once(':'));
        all.into_iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
    };
    if place.is_loopback() && !header("host").is_none_or(is_loopback) {
        return Answer::plain("403 Forbidden", "this is no public place: ask for it by a loopback address");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    answer(&Request { is_post: method == "POST", path, query, accept: header("accept").unwrap_or_default() })
}

pub fn no_method() -> Answer {
    Answer::plain("405 Method Not Allowed", "there is nothing here but to be read")
}

/// Everything up to the empty line.
fn read_request(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut part = [0; 2048];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part)?;
        if count == 0 || bytes.len() > REQUEST_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// `%3D` and `+`, as browsers write them.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let digits = others.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (byte, behind) = match (first, digits) {
            (b'%', Some(byte)) => (byte, others.get(2..).unwrap_or_default()),
            (b'+', _) => (b' ', others),
            (byte, _) => (*byte, others),
        };
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// 128 bits from the kernel, in hexadecimal.
fn token() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| said("/dev/urandom", &Trouble::File(format!("/dev/urandom: {e}"))))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:9432", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com", "10.0.0.1:80", "", "localhost.evil:80"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn addresses_are_read_as_browsers_write_them() {
        assert_eq!(decoded("size%3E%3D4096+x%"), "size>=4096 x%");
        let request = Request { is_post: false, path: "/", query: "e=malloc&e=size%3C9&at=0x10", accept: "" };
        assert_eq!(request.all("e").collect::<Vec<_>>(), ["malloc", "size<9"]);
        assert_eq!(request.asked("at").as_deref(), Some("0x10"));
    }
}
