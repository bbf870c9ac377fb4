use super::*;

fn offer() -> Offer {
    Offer {
        cluster: "k3f9".into(),
        address: [192, 168, 1, 20].into(),
        port: 8883,
    }
}

fn asked_by(id: u16) -> Asked {
    Asked { id, alone: true }
}

#[test]
fn the_question_is_what_any_responder_understands() {
    let expected = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x08_bramble\x04_tcp\x05local\0\0\x0c\x80\x01";
    assert_eq!(question(0x1234), expected);
    assert_eq!(asked(expected), Some(asked_by(0x1234)));
}

/// As `avahi-browse` asks: its own service first, ours behind it by a pointer, to be answered to all.
#[test]
fn another_programs_question_is_understood() {
    let packet = b"\0\0\0\0\0\x02\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01\
        \x08_BRAMBLE\xc0\x12\0\x0c\0\x01";
    let expected = Asked {
        id: 0,
        alone: false,
    };
    assert_eq!(asked(packet), Some(expected));
}

#[test]
fn what_is_no_question_for_us_is_not_answered() {
    let ours = question(1);
    let with = |at: usize, byte: u8| {
        let mut packet = ours.clone();
        packet[at] = byte;
        asked(&packet)
    };
    assert!(with(0, 9).is_some());
    assert_eq!(with(2, 0x84), None, "a response");
    assert_eq!(with(2, 0x28), None, "an update");
    assert_eq!(with(5, 0), None, "no question");
    assert_eq!(with(5, 17), None, "too many");
    assert_eq!(with(14, b'B' + 1), None, "another service");
    assert_eq!(with(ours.len() - 3, 1), None, "an address is asked for");
    assert_eq!(asked(&answer(asked_by(1), true, &offer())), None);
}

#[test]
fn an_answer_is_read_by_who_asked() {
    let packet = answer(asked_by(7), true, &offer());
    assert!(packet.len() < 400, "{}", packet.len());
    assert_eq!(offers(&packet, 7), [offer()]);
    assert_eq!(offers(&packet, 8), [], "another question's");
    let longest = Offer {
        cluster: "c".repeat(63),
        ..offer()
    };
    assert_eq!(offers(&answer(asked_by(7), true, &longest), 7), [longest]);
    let to_all = answer(asked_by(7), false, &offer());
    assert_eq!(offers(&to_all, 0), [offer()]);
}

/// As avahi and mDNSResponder write it: compressed, with records that we have no use for.
#[test]
fn another_programs_answer_is_read() {
    let packet = b"\0\x07\x84\0\0\0\0\x05\0\0\0\0\
        \x08_bramble\x04_tcp\x05local\0\0\x0c\0\x01\0\0\0\x0a\0\x07\x04K3f9\xc0\x0c\
        \xc0\x2b\0\x21\x80\x01\0\0\0\x78\0\x0b\0\0\0\0\x22\xb3\x02pi\xc0\x1a\
        \xc0\x2b\0\x10\x80\x01\0\0\0\x78\0\x13\x05a=b=c\x0ccluster=k3f9\
        \xc0\x44\0\x1c\x80\x01\0\0\0\x78\0\x04abcd\
        \xc0\x44\0\x01\x80\x01\0\0\0\x78\0\x04\xc0\xa8\x01\x14";
    assert_eq!(offers(packet, 7), [offer()]);
}

#[test]
fn addresses_that_lead_nowhere_are_no_offers() {
    for address in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 251],
        [255, 255, 255, 255],
    ] {
        let address = address.into();
        let packet = answer(asked_by(1), true, &Offer { address, ..offer() });
        assert_eq!(offers(&packet, 1), [], "{address}");
    }
    let packet = answer(asked_by(1), true, &Offer { port: 0, ..offer() });
    assert_eq!(offers(&packet, 1), []);
}

#[test]
fn names_that_never_end_are_no_names() {
    let header = b"\0\x01\0\0\0\x01\0\0\0\0\0\0";
    for name in [
        &b"\xc0\x0c"[..],    // itself
        b"\x01a\xc0\x0c",    // its own beginning
        b"\xc0\x0e\xc0\x0c", // forward, and back
        b"\xc0",             // half a pointer
        b"\x3fshort",        // longer than the packet
        b"\x40a",            // neither label nor pointer
        b"\x80a",            // the same
        b"\x01.\0",          // a dot that is none
        b"\x02\xff\xfe\0",   // no text
    ] {
        let packet = [&header[..], name].concat();
        let mut reader = Reader::new(&packet).unwrap();
        reader.header().unwrap();
        assert_eq!(reader.name(), None, "{name:?}");
    }
    let long = [&header[..], &b"\x3f".repeat(64).repeat(5), b"\0"].concat();
    let mut reader = Reader {
        packet: &long,
        at: 12,
    };
    assert_eq!(reader.name(), None, "more than 255 bytes");
}

#[test]
fn packets_that_say_too_much_say_nothing() {
    let mut many = answer(asked_by(1), true, &offer());
    many[7] = 17;
    assert_eq!(offers(&many, 1), []);
    let long = [answer(asked_by(1), true, &offer()), vec![0; PACKET_MAX]].concat();
    assert_eq!(offers(&long, 1), []);
}

#[test]
fn a_packet_that_was_cut_is_none() {
    let whole = answer(asked_by(1), true, &offer());
    for length in 0..whole.len() {
        assert_eq!(offers(&whole[..length], 1), [], "{length}");
    }
    let whole = question(1);
    for length in 0..whole.len() {
        assert_eq!(asked(&whole[..length]), None, "{length}");
    }
}
