//! Values as bytes. Most log lines have four addresses and a dozen numbers; `Display` would take longer
//! for these than all else takes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Value;
use crate::reply::Flags;

impl Value<'_> {
    /// Appends the value's bytes, at most `max` of them, as they are. Only text can hold bytes that
    /// somebody else chose.
    pub(crate) fn push(&self, out: &mut Vec<u8>, max: Option<usize>) {
        let start = out.len();
        match *self {
            Value::Missing => {}
            Value::Text(bytes) => out.extend_from_slice(bytes),
            Value::Number(number) => push_number(out, number),
            Value::Address(SocketAddr::V4(v4)) => {
                push_v4(out, *v4.ip());
                push_port(out, v4.port());
            }
            Value::Address(SocketAddr::V6(v6)) => push_display(out, v6),
            Value::Ip(SocketAddr::V4(v4)) => push_v4(out, *v4.ip()),
            Value::Ip(SocketAddr::V6(v6)) => push_display(out, v6.ip()),
            Value::Client(client) => match client.trusted {
                IpAddr::V4(v4) => {
                    push_v4(out, v4);
                    push_port(out, client.remote_port());
                }
                IpAddr::V6(_) => push_display(out, &client.remote()),
            },
            Value::ClientIp(client) => push_ip(out, client.trusted),
            Value::Flags(flags) => push_flags(out, flags),
            Value::Time(time, format) => format.push(out, time),
        }
        if let Some(max) = max {
            out.truncate(start.saturating_add(max));
        }
    }
}

/// What bytes can be put into.
pub(crate) trait Output: io::Write {
    /// Appends one.
    fn push(&mut self, byte: u8);
}

impl Output for Vec<u8> {
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }
}

impl<A: smallvec::Array<Item = u8>> Output for smallvec::SmallVec<A> {
    fn push(&mut self, byte: u8) {
        smallvec::SmallVec::push(self, byte);
    }
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    if let Some(small) = u32::try_from(number).ok().filter(|small| *small < 100_000) {
        return push_small(out, small);
    }
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends an address.
pub(crate) fn push_ip(out: &mut impl Output, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => push_v4(out, v4),
        IpAddr::V6(v6) => push_display(out, &v6),
    }
}

fn push_v4(out: &mut impl Output, v4: Ipv4Addr) {
    for (index, octet) in v4.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_small(out, octet.into());
    }
}

fn push_port(out: &mut impl Output, port: u16) {
    out.push(b':');
    push_small(out, port.into());
}

/// A number below 100,000, digit by digit: a copy costs more than they do.
fn push_small(out: &mut impl Output, number: u32) {
    let digit = |of: u32| b'0' + (of % 10) as u8;
    // Each divisor a constant: to divide by one takes a multiplication.
    if number >= 10_000 {
        out.push(digit(number / 10_000));
    }
    if number >= 1000 {
        out.push(digit(number / 1000));
    }
    if number >= 100 {
        out.push(digit(number / 100));
    }
    if number >= 10 {
        out.push(digit(number / 10));
    }
    out.push(digit(number));
}

fn push_display(out: &mut impl Output, value: &dyn std::fmt::Display) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}

fn push_flags(out: &mut Vec<u8>, flags: Flags) {
    if flags.is_empty() {
        out.push(b'-');
    }
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(flag.as_str().as_bytes());
    }
}
