//===-- FilesystemError.swift - the one error of every layer ----------------------------------===//
// Says what went wrong (code, plain words, up to two values) and where (tree, block, slot, device).
//
// Invariants:
//   1. Making, throwing and copying one allocates nothing: the words are static, the rest numbers.
//   2. `errno` is the only place where a code becomes an errno.
//
// A layer that knows more about the place than the one that threw adds it with `located(…)`.
// Only `message` and `append(to:)` allocate; they are for people, not for paths that must not fail.

/// What went wrong, and where. Small, typed, and free of allocation until it is rendered.
public struct FilesystemError: Error, Sendable {
    /// The kind of failure; each case has its errno, given by ``FilesystemError/errno``.
    public enum Code: Sendable, Equatable {
        /// ENOSPC: no room, and none can be made.
        case noSpace
        /// EUCLEAN: the bytes on the device break a rule of the format.
        case corrupt
        /// EIO: a device failed to read or write, and no mirror could stand in.
        case io
        /// EROFS: opened read-only, or turned read-only after a failure.
        case readOnly
        /// EINVAL: the caller's argument.
        case invalidArgument
        /// EOPNOTSUPP: a feature of the format that is not implemented.
        case unsupported
        /// ENXIO: a device of the file system was not given.
        case missingDevice
        /// ENOENT.
        case notFound
        /// ENOMEM.
        case noMemory
        /// EBUSY.
        case busy
        /// EEXIST: already there, or already free.
        case exists
        /// Any other error number of a system call.
        case system(CInt)
    }

    public var code: Code
    /// The thing that is wrong, such as "leaf" or "super block". May be empty.
    public var subject: StaticString
    /// Plain words. Each `%` stands for the next of `value` and `secondValue`.
    public var what: StaticString
    public var value: UInt64?
    public var secondValue: UInt64?

    /// Object id of the tree.
    public var root: UInt64?
    /// Logical address, bytes: of the tree block where there is one, otherwise of the range.
    public var logical: UInt64?
    /// Number of the item in its node.
    public var slot: UInt32?
    /// Which of the paths or devices that the caller passed, counted from 0.
    public var deviceIndex: UInt32?
    /// Device id, as the file system numbers its devices.
    public var devid: UInt64?
    /// Offset on the device, bytes.
    public var physical: UInt64?

    public init(
        _ code: Code,
        _ subject: StaticString,
        _ what: StaticString,
        _ value: UInt64? = nil,
        _ secondValue: UInt64? = nil,
        root: UInt64? = nil,
        logical: UInt64? = nil,
        slot: Int? = nil,
        deviceIndex: Int? = nil,
        devid: UInt64? = nil,
        physical: UInt64? = nil
    ) {
        self.code = code
        self.subject = subject
        self.what = what
        self.value = value
        self.secondValue = secondValue
        self.root = root
        self.logical = logical
        self.slot = slot.map { UInt32(truncatingIfNeeded: $0) }
        self.deviceIndex = deviceIndex.map { UInt32(truncatingIfNeeded: $0) }
        self.devid = devid
        self.physical = physical
    }

    /// Adds what the catcher knows about the place; what is known already stays.
    public func located(
        root: UInt64? = nil,
        logical: UInt64? = nil,
        slot: Int? = nil,
        deviceIndex: Int? = nil,
        devid: UInt64? = nil,
        physical: UInt64? = nil
    ) -> FilesystemError {
        var error = self
        error.root = error.root ?? root
        error.logical = error.logical ?? logical
        error.slot = error.slot ?? slot.map { UInt32(truncatingIfNeeded: $0) }
        error.deviceIndex =
            error.deviceIndex ?? deviceIndex.map { UInt32(truncatingIfNeeded: $0) }
        error.devid = error.devid ?? devid
        error.physical = error.physical ?? physical
        return error
    }

    /// The positive errno of this error; the C interface returns its negative.
    public var errno: CInt {
        switch code {
        case .noSpace: 28
        case .corrupt: 117
        case .io: 5
        case .readOnly: 30
        case .invalidArgument: 22
        case .unsupported: 95
        case .missingDevice: 6
        case .notFound: 2
        case .noMemory: 12
        case .busy: 16
        case .exists: 17
        case .system(let number): number
        }
    }

    /// One line for people, such as
    /// `corrupt leaf: root=2 block=30408704 slot=7, length 4095 not sector aligned`.
    public var message: String {
        var text: [UInt8] = []
        append(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends the bytes of ``message`` (UTF-8, no final zero).
    public func append(to text: inout [UInt8]) {
        let prefixStart = text.count
        switch code {
        case .corrupt: text.append("corrupt")
        case .unsupported: text.append("unsupported")
        default: break
        }
        if subject.utf8CodeUnitCount > 0 {
            if text.count > prefixStart { text.append(0x20) }
            text.append(subject)
        }
        if text.count > prefixStart { text.append(": ") }
        let placeStart = text.count
        appendPlace("root=", root, to: &text, since: placeStart)
        // An error about a slot or a tree names its block; any other, an address.
        let blockName: StaticString = root != nil || slot != nil ? "block=" : "logical="
        appendPlace(blockName, logical, to: &text, since: placeStart)
        appendPlace("slot=", slot.map { UInt64($0) }, to: &text, since: placeStart)
        appendPlace("device=", deviceIndex.map { UInt64($0) }, to: &text, since: placeStart)
        appendPlace("devid=", devid, to: &text, since: placeStart)
        appendPlace("physical=", physical, to: &text, since: placeStart)
        if text.count > placeStart { text.append(", ") }
        appendWords(to: &text)
        if case .system(let number) = code {
            text.append(" (errno ")
            text.appendDecimal(UInt64(UInt32(bitPattern: number)))
            text.append(0x29)
        }
    }

    private func appendPlace(
        _ name: StaticString,
        _ number: UInt64?,
        to text: inout [UInt8],
        since start: Int
    ) {
        guard let number else { return }
        if text.count > start { text.append(0x20) }
        text.append(name)
        text.appendDecimal(number)
    }

    /// The plain words, each `%` replaced by the next value.
    private func appendWords(to text: inout [UInt8]) {
        var used = 0
        what.withUTF8Buffer { words in
            for index in 0..<words.count {
                let byte = unsafe words[index]
                let next = used == 0 ? value : used == 1 ? secondValue : nil
                if byte == 0x25, let next {
                    text.appendDecimal(next)
                    used += 1
                } else {
                    text.append(byte)
                }
            }
        }
    }
}

extension [UInt8] {
    /// Appends the bytes of a literal.
    package mutating func append(_ words: StaticString) {
        words.withUTF8Buffer { buffer in
            for index in 0..<buffer.count { unsafe self.append(buffer[index]) }
        }
    }

    /// Appends a number in decimal digits.
    package mutating func appendDecimal(_ number: UInt64) {
        let start = self.count
        var rest = number
        repeat {
            self.append(0x30 + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        var low = start
        var high = self.count - 1
        while low < high {
            self.swapAt(low, high)
            low += 1
            high -= 1
        }
    }

    /// Appends a number in hexadecimal digits, at least `width` of them.
    package mutating func appendHex(_ number: UInt64, width: Int = 1) {
        var digits = 1
        while digits < 16 && number >> UInt64(4 * digits) != 0 { digits += 1 }
        var index = Swift.max(digits, Swift.min(width, 16))
        while index > 0 {
            index -= 1
            let digit = UInt8(truncatingIfNeeded: number >> UInt64(4 * index)) & 15
            self.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
        }
    }
}
