//===-- ClaimRequest.swift - what a claim asks for -----------------------------------------------===//
// The public form is in bytes; Wish is the same in sectors, checked, as the search uses it.

/// What a claim asks for, in bytes. A field left alone states no wish.
public struct ClaimRequest: Sendable {
    /// Type, and a profile bit where only that profile will do.
    public var flags: BlockGroupFlags
    /// Bytes wanted: a non-zero multiple of the sector size.
    public var length: UInt64
    /// The least that will do: the request is halved down to it. 0: all or nothing.
    public var lengthMin: UInt64 = 0
    /// The run claimed from must have this much more than `length`.
    public var emptySize: UInt64 = 0
    /// The address is a multiple of this: any multiple of the sector size. 0: no wish.
    public var alignment: UInt64 = 0
    /// Continue here if this very address is free: its group is looked at first.
    public var hint: UInt64?
    /// Only at or above this address.
    public var searchStart: UInt64 = 0
    /// Only ending at or below this address. 0: no bound.
    public var searchEnd: UInt64 = 0
    /// Nothing that touches this range.
    public var excludeStart: UInt64 = 0
    public var excludeLength: UInt64 = 0

    /// Whether type, profile and length are all that is asked for.
    @inline(__always)
    var isPlain: Bool {
        lengthMin | emptySize | alignment | searchStart | searchEnd | excludeStart | excludeLength
            == 0 && hint == nil
    }

    public init(length: UInt64, flags: BlockGroupFlags) {
        self.length = length
        self.flags = flags
    }
}

/// A checked request, in sectors; addresses are absolute sectors.
package struct Wish {
    package var flags: UInt64
    package var sectors: UInt32
    package var sectorsMin: UInt32
    package var emptySectors: UInt64
    package var alignment: UInt64
    package var hint: UInt64?
    package var start: UInt64
    /// Exclusive; `UInt64.max`: no bound.
    package var end: UInt64
    package var excludeStart: UInt64
    /// Exclusive; equal to `excludeStart`: nothing is excluded.
    package var excludeEnd: UInt64

    /// Whether the claim may come from anywhere, so that the directories can choose.
    package var isAnywhere: Bool {
        hint == nil && start == 0 && end == UInt64.max && excludeStart == excludeEnd
            && alignment <= 1
    }

    /// - Throws: `.invalidArgument`; `.noSpace` for more than any group can have.
    package init(_ request: ClaimRequest, sectorShift: UInt32) throws(AllocationError) {
        let sectorMask = (UInt64(1) << sectorShift) - 1
        let lengthMin = request.lengthMin == 0 ? request.length : request.lengthMin
        let aligned =
            (request.length | lengthMin | request.alignment) & sectorMask == 0
        guard request.flags.isValidForClaim, aligned, request.length != 0,
            lengthMin <= request.length
        else { throw AllocationError(.invalidArgument) }
        // No group has as many sectors: more than that may be asked for where less will do.
        let sectorsMax = UInt64(Int32.max)
        guard lengthMin >> sectorShift <= sectorsMax else { throw AllocationError(.noSpace) }
        let (excludeEnd, overflow) = request.excludeStart.addingReportingOverflow(
            request.excludeLength
        )
        guard !overflow, request.searchEnd == 0 || request.searchStart <= request.searchEnd else {
            throw AllocationError(.invalidArgument)
        }

        flags = request.flags.rawValue
        sectors = UInt32(min(request.length >> sectorShift, sectorsMax))
        sectorsMin = UInt32(lengthMin >> sectorShift)
        // Slack that is not whole sectors needs the next one; bounds round inwards.
        emptySectors = Wish.roundUp(request.emptySize, sectorShift)
        alignment = request.alignment >> sectorShift
        hint = request.hint.map { $0 >> sectorShift }
        start = Wish.roundUp(request.searchStart, sectorShift)
        end = request.searchEnd == 0 ? UInt64.max : request.searchEnd >> sectorShift
        excludeStart = request.excludeStart >> sectorShift
        self.excludeEnd =
            request.excludeLength == 0
            ? excludeStart : Wish.roundUp(excludeEnd, sectorShift)
    }

    private static func roundUp(_ bytes: UInt64, _ shift: UInt32) -> UInt64 {
        let whole = bytes >> shift
        return whole << shift == bytes ? whole : whole + 1
    }

    /// Sectors that the run must have, for a length and a slack; more than any group has: too many.
    static func need(_ sectors: UInt32, _ emptySectors: UInt64) -> UInt32 {
        UInt32(
            clamping: UInt64(sectors).addingReportingOverflow(emptySectors).partialValue
                < emptySectors ? UInt64.max : UInt64(sectors) &+ emptySectors
        )
    }
}
