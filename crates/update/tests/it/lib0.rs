//! The primitives that the frame codec shares.

use epicenter_update::lib0::{ReadError, Reader, write_var_bytes};

fn check(bytes: &[u8], expect: Result<u64, ReadError>) {
    assert_eq!(Reader::new(bytes).read_var_uint(), expect, "{bytes:02x?}");
}

#[test]
fn integers_end_where_javascript_numbers_do() {
    let mut largest = [0xff; 8];
    largest[7] = 0x0f;
    check(&largest, Ok((1 << 53) - 1));
    // lib0 checks the range only between bytes and reads this one as 2^53.
    let next = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    check(&next, Err(ReadError::IntegerNotExact { offset: 0 }));
    check(&[0xff; 9], Err(ReadError::IntegerOutOfRange { offset: 0 }));
    check(&[0xff; 3], Err(ReadError::UnexpectedEnd { offset: 3 }));
    check(&[], Err(ReadError::UnexpectedEnd { offset: 0 }));
}

#[test]
fn longer_forms_of_an_integer_are_read_as_lib0_reads_them() {
    check(&[0x82, 0x00], Ok(2));
    check(
        &[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        Ok(2),
    );
    check(&[0x80; 100], Err(ReadError::IntegerNotExact { offset: 0 }));
}

#[test]
fn a_length_beyond_the_input_is_refused_before_anything_is_reserved() {
    let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3];
    let read = Reader::new(&bytes).read_var_bytes();
    assert_eq!(read, Err(ReadError::UnexpectedEnd { offset: 5 }));
}

#[test]
fn positions_and_remaining_bytes_follow_the_reads() {
    let mut bytes = Vec::new();
    write_var_bytes(&mut bytes, b"abc");
    bytes.push(9);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.read_var_bytes(), Ok(b"abc".as_slice()));
    assert_eq!(reader.position(), 4);
    assert_eq!(reader.remaining(), [9]);
    assert_eq!(reader.read_u8(), Ok(9));
    assert_eq!(
        reader.read_u8(),
        Err(ReadError::UnexpectedEnd { offset: 5 })
    );
}
