//===-- LittleEndian+Writing.swift - numbers into bytes ---------------------------------------===//
// The counterpart of RawSpan+LittleEndian.swift: items are encoded by appending their fields in
// order, and fields of blocks are stored at offsets that the caller knows to be inside.

extension [UInt8] {
    @inline(__always)
    package mutating func append(littleEndian value: UInt16) {
        append(UInt8(truncatingIfNeeded: value))
        append(UInt8(truncatingIfNeeded: value >> 8))
    }

    @inline(__always)
    package mutating func append(littleEndian value: UInt32) {
        append(littleEndian: UInt16(truncatingIfNeeded: value))
        append(littleEndian: UInt16(truncatingIfNeeded: value >> 16))
    }

    @inline(__always)
    package mutating func append(littleEndian value: UInt64) {
        append(littleEndian: UInt32(truncatingIfNeeded: value))
        append(littleEndian: UInt32(truncatingIfNeeded: value >> 32))
    }

    package mutating func append(_ key: Key) {
        append(littleEndian: key.objectid)
        append(key.type.rawValue)
        append(littleEndian: key.offset)
    }

    package mutating func append(_ uuid: FilesystemUUID) {
        append(littleEndian: uuid.high.byteSwapped)
        append(littleEndian: uuid.low.byteSwapped)
    }

    package mutating func append(zeros count: Int) {
        append(contentsOf: repeatElement(0, count: count))
    }
}

extension MutableRawSpan {
    @inline(__always)
    package mutating func store<Number: FixedWidthInteger & BitwiseCopyable>(
        _ value: Number,
        at offset: Int
    ) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: Number.self)
    }

    @inline(__always)
    package mutating func store(_ key: Key, at offset: Int) {
        store(key.objectid, at: offset)
        store(key.type.rawValue, at: offset + 8)
        store(key.offset, at: offset + 9)
    }

    package mutating func store(_ uuid: FilesystemUUID, at offset: Int) {
        store(uuid.high.byteSwapped, at: offset)
        store(uuid.low.byteSwapped, at: offset + 8)
    }
}
