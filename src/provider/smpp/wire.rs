//! SMPP's PDUs between octets and what the courier says and hears: the only place that names `rusmpp`.
//!
//! Frames are cut here and not by the library's codec: one whose body can't be read leaves the stream in step, and its
//! header (which request it answers, with which status) still counts. Guarantee: no length is believed before it is
//! held against [`LARGEST`].

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rusmpp::decode::DecodeWithLength as _;
use rusmpp::encode::{Encode as _, Length as _};
use rusmpp::pdus::{DeliverSmResp, SubmitSm};
use rusmpp::tlvs::TlvValue;
use rusmpp::types::{COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, Npi, RegisteredDelivery, ServiceType, Ton};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};

use super::text::Part;

/// The largest PDU that is read, in octets.
pub const LARGEST: usize = 64 * 1024;
const HEADER: usize = 16;

/// `generic_nack`.
pub(super) const GENERIC_NACK: u32 = 0x8000_0000;
/// `submit_sm_resp`.
pub(super) const SUBMIT_SM_RESP: u32 = 0x8000_0004;
/// `bind_transceiver_resp`.
pub(super) const BIND_TRANSCEIVER_RESP: u32 = 0x8000_0009;
const BIND_TRANSCEIVER: u32 = 0x09;
/// `deliver_sm`.
pub(super) const DELIVER_SM: u32 = 0x05;
/// `unbind`.
pub(super) const UNBIND: u32 = 0x06;
/// `enquire_link`.
pub(super) const ENQUIRE_LINK: u32 = 0x15;
/// Bit 31 of a command's id: it answers a request.
pub(super) const ANSWER: u32 = 0x8000_0000;

/// A whole PDU whose header was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which command.
    pub id: u32,
    /// Its status; 0 in requests.
    pub status: u32,
    /// Which request it is, or answers.
    pub sequence: u32,
    /// All of it, the header too.
    pub bytes: Bytes,
}

/// A length that no PDU has: nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PDU of {0} octets")]
pub struct NoLength(pub u32);

impl Frame {
    /// Takes the next one off what came; `None` where it is not whole.
    ///
    /// # Errors
    /// Where its length is none: the session can't go on.
    pub fn take(came: &mut BytesMut) -> Result<Option<Self>, NoLength> {
        let Some(mut head) = came.get(..HEADER) else { return Ok(None) };
        let length = head.get_u32();
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEADER..=LARGEST).contains(&whole) {
            return Err(NoLength(length));
        }
        let (id, status, sequence) = (head.get_u32(), head.get_u32(), head.get_u32());
        if came.len() < whole {
            return Ok(None);
        }
        Ok(Some(Self { id, status, sequence, bytes: came.split_to(whole).freeze() }))
    }

    /// One that is whole; `None` where the octets are another thing.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut came = BytesMut::from(octets);
        Self::take(&mut came).ok().flatten().filter(|_| came.is_empty())
    }

    fn pdu(&self) -> Option<Pdu> {
        let mut rest = BytesMut::from(self.bytes.get(4..)?);
        let length = rest.len();
        Command::decode(&mut rest, length).ok()?.0.pdu().cloned()
    }

    /// The id that a `submit_sm_resp` gives the message; `None` where it gives none that can be read.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        match self.pdu()? {
            Pdu::SubmitSmResp(answer) => Some(answer.message_id().as_str().to_owned()).filter(|id| !id.is_empty()),
            _ => None,
        }
    }

    /// What a `deliver_sm` holds; `None` where that can't be read.
    #[must_use]
    pub fn delivered(&self) -> Option<Delivered> {
        let Pdu::DeliverSm(told) = self.pdu().or_else(|| self.without_tlvs()?.pdu())? else { return None };
        let mut delivered = Delivered {
            class: told.esm_class.into(),
            coding: told.data_coding.into(),
            text: told.short_message().clone().into_bytes(),
            ..Delivered::default()
        };
        for value in told.tlvs().iter().filter_map(|tlv| tlv.value()) {
            match value {
                TlvValue::ReceiptedMessageId(id) => delivered.message_id = Some(id.as_str().to_owned()),
                TlvValue::MessageState(state) => delivered.state = Some(u8::from(*state)),
                TlvValue::NetworkErrorCode(error) => delivered.network_error = Some(error.error_code),
                TlvValue::MessagePayload(text) if delivered.text.is_empty() => {
                    delivered.text = text.value.clone().into_bytes();
                }
                _ => {}
            }
        }
        Some(delivered)
    }

    /// The same without its optional parameters, one of which may be what can't be read.
    fn without_tlvs(&self) -> Option<Self> {
        let body = self.bytes.get(HEADER..)?;
        let after_text = |from: usize| Some(from + body.get(from..)?.iter().position(|octet| *octet == 0)? + 1);
        let source = after_text(0)? + 2;
        let destination = after_text(source)? + 2;
        let schedule = after_text(destination)? + 3;
        let length_at = after_text(after_text(schedule)?)? + 4;
        let end = HEADER + length_at + 1 + usize::from(*body.get(length_at)?);
        let mut bytes = BytesMut::from(self.bytes.get(..end)?);
        let length = u32::try_from(end).ok()?.to_be_bytes();
        bytes.get_mut(..4)?.copy_from_slice(&length);
        Some(Self { bytes: bytes.freeze(), ..self.clone() })
    }
}

/// What of a `deliver_sm` is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// `esm_class`.
    pub class: u8,
    /// `data_coding`.
    pub coding: u8,
    /// The short message, or else the payload.
    pub text: Bytes,
    /// The TLV that names the message.
    pub message_id: Option<String>,
    /// The TLV with its state.
    pub state: Option<u8>,
    /// The TLV with the network's own code.
    pub network_error: Option<u16>,
}

/// What binds a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bind<'b> {
    pub(super) system_id: &'b str,
    pub(super) password: &'b str,
    pub(super) system_type: &'b str,
}

/// A session's first request. Written by hand: the library holds passwords to the 8 characters of the specification,
/// and many servers take 16.
pub(super) fn bind(with: Bind<'_>, sequence: u32) -> Bytes {
    let mut body = BytesMut::new();
    for text in [with.system_id, with.password, with.system_type] {
        body.put_slice(text.as_bytes());
        body.put_u8(0);
    }
    // SMPP 3.4, and no addresses of our own.
    body.put_slice(&[0x34, 0, 0, 0]);
    let mut whole = BytesMut::from(bare(BIND_TRANSCEIVER, 0, sequence).as_ref());
    whole.extend_from_slice(&body);
    let length = u32::try_from(whole.len()).unwrap_or(u32::MAX).to_be_bytes();
    whole[..4].copy_from_slice(&length);
    whole.freeze()
}

/// A PDU that is nothing but its header.
pub(super) fn bare(id: u32, status: u32, sequence: u32) -> Bytes {
    let mut head = BytesMut::with_capacity(HEADER);
    for field in [16, id, status, sequence] {
        head.put_u32(field);
    }
    head.freeze()
}

/// The answer to a `deliver_sm`.
pub(super) fn deliver_sm_resp(status: u32, sequence: u32) -> Bytes {
    encoded(&Command::new(CommandStatus::from(status), sequence, DeliverSmResp::default()))
}

/// One part of a text message.
#[derive(Clone, Debug)]
pub(super) struct Submit<'s> {
    pub(super) source: (u8, u8, &'s str),
    /// The digits of an international number.
    pub(super) to: &'s str,
    pub(super) service_type: &'s str,
    pub(super) validity: &'s str,
    pub(super) wants_receipt: bool,
    pub(super) part: &'s Part,
}

/// Its `submit_sm`; `None` where a field does not fit.
pub(super) fn submit(of: &Submit<'_>, sequence: u32) -> Option<Bytes> {
    let (ton, npi, source) = of.source;
    let class = if of.part.has_header { 0x40 } else { 0 };
    let pdu = SubmitSm::builder()
        .service_type(ServiceType::new(text(of.service_type)?))
        .source_addr_ton(Ton::from(ton))
        .source_addr_npi(Npi::from(npi))
        .source_addr(text(source)?)
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(text(of.to)?)
        .esm_class(EsmClass::from(class))
        .validity_period(EmptyOrFullCOctetString::from_vec(ended(of.validity)).ok()?)
        .registered_delivery(RegisteredDelivery::from(u8::from(of.wants_receipt)))
        .data_coding(DataCoding::from(of.part.coding))
        .short_message(OctetString::from_slice(&of.part.octets).ok()?)
        .build();
    Some(encoded(&Command::new(CommandStatus::from(0), sequence, pdu)))
}

fn ended(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn text<const MOST: usize>(text: &str) -> Option<COctetString<1, MOST>> {
    COctetString::from_vec(ended(text)).ok()
}

fn encoded(command: &Command) -> Bytes {
    debug_assert!(!matches!(command.id(), CommandId::Other(_)));
    let length = command.length();
    let mut whole = vec![0; 4 + length];
    whole[..4].copy_from_slice(&u32::try_from(4 + length).unwrap_or(u32::MAX).to_be_bytes());
    command.encode(&mut whole[4..]);
    whole.into()
}
