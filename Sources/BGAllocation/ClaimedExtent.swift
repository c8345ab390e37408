//===-- ClaimedExtent.swift - a claim that must be ended -----------------------------------------===//
// Finding space claims it, and what is not used must be given back (the seed). The type cannot be
// copied, so a claim is ended once; a claim that goes out of scope unended is a bug of the caller,
// which debug builds stop at and release builds repair by giving it back.

/// A range of the logical address space, in bytes.
public struct Extent: Equatable, Sendable {
    public var logical: UInt64
    public var length: UInt64

    public init(logical: UInt64, length: UInt64) {
        self.logical = logical
        self.length = length
    }
}

/// A byte range taken out of free space and not yet owned by anything.
///
/// End it with exactly one of `commit()` and `giveBack()`, before its allocator goes.
@frozen
public struct ClaimedExtent: ~Copyable {
    /// First byte.
    public let logical: UInt64
    /// Bytes: what was asked for, or less where the request allowed it.
    public let length: UInt64
    @usableFromInline
    unowned(unsafe) let allocator: Allocator

    @usableFromInline
    init(logical: UInt64, length: UInt64, allocator: Allocator) {
        self.logical = logical
        self.length = length
        unsafe self.allocator = allocator
    }

    /// What was committed becomes a claim again.
    package init(_ extent: Extent, of allocator: Allocator) {
        self.init(logical: extent.logical, length: extent.length, allocator: allocator)
    }

    deinit {
        assertionFailure("a claimed extent was neither committed nor given back")
        _ = unsafe allocator.giveBack(logical, length)
    }

    /// Keeps the range: from now on it is the caller's plain value to record.
    public consuming func commit() -> Extent {
        let extent = Extent(logical: logical, length: length)
        discard self
        return extent
    }

    /// Returns the range to free space, as if it had never been claimed. Cannot fail: nobody else
    /// can have given it back.
    public consuming func giveBack() {
        let result = unsafe allocator.giveBack(logical, length)
        precondition(result == 0, "a claimed extent was given back behind its owner's back")
        discard self
    }
}
