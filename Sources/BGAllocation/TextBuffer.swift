//===-- TextBuffer.swift - text without a String -------------------------------------------------===//
// Reports are written into a caller's buffer: cut to fit, ended by a 0, the whole length counted. Works
// the same with and without a Swift runtime.

/// Receives text piece by piece.
@safe
package struct TextBuffer {
    private let bytes: UnsafeMutableBufferPointer<CChar>
    /// Length of the whole text, what did not fit included.
    package private(set) var length = 0

    /// - Parameter bytes: outlives the buffer's use; may be empty.
    package init(_ bytes: UnsafeMutableBufferPointer<CChar>) {
        unsafe self.bytes = bytes
    }

    package mutating func append(byte: UInt8) {
        if unsafe length + 1 < bytes.count { unsafe bytes[length] = CChar(bitPattern: byte) }
        length += 1
    }

    package mutating func append(_ text: StaticString) {
        for index in 0..<text.utf8CodeUnitCount { unsafe append(byte: text.utf8Start[index]) }
    }

    package mutating func append(_ number: UInt64) {
        if number >= 10 { append(number / 10) }
        append(byte: UInt8(ascii: "0") + UInt8(number % 10))
    }

    /// Bytes as people read them: the largest binary unit, with one decimal where that says more.
    package mutating func append(bytes count: UInt64) {
        let units: (StaticString, StaticString, StaticString, StaticString, StaticString) =
            ("KiB", "MiB", "GiB", "TiB", "PiB")
        guard count >= 1024 else {
            append(count)
            append(" bytes")
            return
        }
        var unit = 0
        var scale: UInt64 = 1024
        while unit < 4, count / scale >= 1024 {
            unit += 1
            scale *= 1024
        }
        append(count / scale)
        let tenth = (count % scale) / (scale / 10 + 1)
        if tenth != 0 {
            append(byte: UInt8(ascii: "."))
            append(tenth)
        }
        append(byte: UInt8(ascii: " "))
        switch unit {
        case 0: append(units.0)
        case 1: append(units.1)
        case 2: append(units.2)
        case 3: append(units.3)
        default: append(units.4)
        }
    }

    /// Ends the text with its 0.
    package func finish() {
        if unsafe !bytes.isEmpty { unsafe bytes[min(length, bytes.count - 1)] = 0 }
    }
}
