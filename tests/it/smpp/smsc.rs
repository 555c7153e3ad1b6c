//! An SMSC that a test leads by the hand: its PDUs are written and read here, without the library under test.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::node::PATIENCE;

pub(super) const ANSWER: u32 = 0x8000_0000;
pub(super) const GENERIC_NACK: u32 = ANSWER;
pub(super) const SUBMIT_SM: u32 = 0x04;
pub(super) const DELIVER_SM: u32 = 0x05;
pub(super) const DELIVER_SM_RESP: u32 = ANSWER | DELIVER_SM;
pub(super) const UNBIND: u32 = 0x06;
pub(super) const BIND_TRANSCEIVER: u32 = 0x09;
pub(super) const ENQUIRE_LINK: u32 = 0x15;

/// One PDU, header and body.
pub(super) fn pdu(id: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("short");
    let head = [length, id, status, sequence].map(u32::to_be_bytes).concat();
    [head.as_slice(), body].concat()
}

/// A PDU as it came.
pub(super) struct Heard {
    id: u32,
    status: u32,
    sequence: u32,
    body: Vec<u8>,
}

impl Heard {
    pub(super) fn holds(&self, octets: &[u8]) -> bool {
        self.body.windows(octets.len()).any(|window| window == octets)
    }

    /// Status and sequence number.
    pub(super) const fn head(&self) -> (u32, u32) {
        (self.status, self.sequence)
    }
}

/// Where lines are waited for.
pub(super) struct Smsc(TcpListener);

impl Smsc {
    pub(super) async fn listen() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.expect("a port"))
    }

    pub(super) fn host(&self) -> String {
        self.0.local_addr().expect("bound").to_string()
    }

    pub(super) async fn accepted(&self) -> Line {
        Line(timeout(PATIENCE, self.0.accept()).await.expect("in time").expect("a line").0)
    }

    /// The next line, bound with the right credentials.
    pub(super) async fn bound(&self) -> Line {
        let mut line = self.accepted().await;
        let bind = line.next(BIND_TRANSCEIVER).await;
        assert!(bind.body.starts_with(b"otpuser\0secret01\0\0\x34\0\0\0"));
        line.answer(&bind, 0, b"SMSC\0").await;
        line
    }
}

/// One connection.
pub(super) struct Line(TcpStream);

impl Line {
    /// The next PDU of this kind; others that may come between are passed over.
    pub(super) async fn next(&mut self, id: u32) -> Heard {
        loop {
            let heard = timeout(PATIENCE, self.read()).await.expect("in time");
            if heard.id == id {
                return heard;
            }
        }
    }

    async fn read(&mut self) -> Heard {
        let mut fields = [0; 4];
        for field in &mut fields {
            *field = self.0.read_u32().await.expect("a PDU");
        }
        let [length, id, status, sequence] = fields;
        let mut body = vec![0; usize::try_from(length).expect("short") - 16];
        self.0.read_exact(&mut body).await.expect("whole");
        Heard { id, status, sequence, body }
    }

    /// In two pieces: nobody may take a segment for a PDU.
    pub(super) async fn write(&mut self, octets: &[u8]) {
        let (first, second) = octets.split_at(octets.len() / 2);
        for piece in [first, second] {
            // The other side may have gone: then what follows says so.
            if self.0.write_all(piece).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn answer(&mut self, to: &Heard, status: u32, body: &[u8]) {
        self.write(&pdu(to.id | ANSWER, status, to.sequence, body)).await;
    }

    /// Tells a receipt as a text.
    pub(super) async fn receipt(&mut self, sequence: u32, text: &str) {
        let length = u8::try_from(text.len()).expect("short");
        let head = b"\0\x01\x0133612345678\0\x05\0ACME\0\x04\0\0\0\0\0\0\0\0";
        let body = [head.as_slice(), &[length], text.as_bytes()].concat();
        self.write(&pdu(DELIVER_SM, 0, sequence, &body)).await;
    }
}
