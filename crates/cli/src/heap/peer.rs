//! Who is at the other end of a connection on loopback. The address of a page, with its token, stands in the arguments of the browser that
//! shows it, where others on the machine may read it; so a page that is one user's answers that user only.

use rustix::process::geteuid;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

/// Is it the user who started this command, or root? Where the kernel's list can't be had, nobody knows, and the token must do.
pub fn is_own(stream: &TcpStream) -> bool {
    let (Ok(SocketAddr::V4(theirs)), Ok(SocketAddr::V4(ours))) = (stream.peer_addr(), stream.local_addr()) else {
        return false;
    };
    let Ok(list) = fs::read_to_string("/proc/self/net/tcp") else { return true };
    owner(&list, theirs, ours).is_some_and(|user| user == 0 || user == geteuid().as_raw())
}

const ESTABLISHED: &str = "01";

/// The user whose connection leads from one of these addresses to the other, in `/proc/net/tcp`.
fn owner(list: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    list.lines().find_map(|line| {
        // number: local remote state queues timer retransmissions user. Of a connection that one side has left, the kernel tells no
        // user any more, and shows root's.
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = address(words.get(1)?)? == from && address(words.get(2)?)? == to && *words.get(3)? == ESTABLISHED;
        if is_it { words.get(7)?.parse().ok() } else { None }
    })
}

/// `0100007F:1F90`: the address as a word of this machine's, the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_owner_of_a_connection_is_in_the_kernels_list() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n   \
                    1: 0100007F:A001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  4711        0 2 1\n   \
                    2: 0100007F:1F90 0100007F:A001 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n   \
                    3: 0100007F:A002 0100007F:1F90 06 00000000:00000000 03:00001748 00000000     0        0 0 3\n";
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if cfg!(target_endian = "little") {
            assert_eq!(owner(list, at(0xa001), at(0x1f90)), Some(4711));
            assert_eq!(owner(list, at(0xa002), at(0x1f90)), None);
        }
    }

    #[test]
    fn ones_own_connection_is_ones_own() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_own(&listener.accept().unwrap().0));
    }
}
