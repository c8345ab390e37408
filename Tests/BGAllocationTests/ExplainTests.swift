//===-- ExplainTests.swift - a refusal explains itself -------------------------------------------===//
// One test for each reason that explain gives, and for what it says about chunks. What it says of
// random claims is checked in AllocatorModelTests.

import BGAllocation
import Testing

@Suite struct ExplainTests {
    private func text(
        _ allocator: Allocator,
        _ length: UInt64 = 64 * 1024,
        _ flags: BlockGroupFlags = .data,
        _ adjust: (inout ClaimRequest) -> Void = { _ in }
    ) throws -> String {
        var request = ClaimRequest(length: length, flags: flags)
        adjust(&request)
        return try allocator.explain(request)
    }

    /// The line about the group that begins there.
    private func line(_ text: String, _ logical: UInt64) -> String {
        text.split(separator: "\n").map(String.init).first { $0.hasPrefix("group \(logical) ") }
            ?? ""
    }

    @Test func thereIsNoGroup() throws {
        let text = try text(try Allocator())
        #expect(text.contains("there is no block group"))
        #expect(text.contains("no chunk can be allocated here"))
    }

    @Test func theRequestIsRepeated() throws {
        let text = try text(try Allocator(), 3 * MiB, [.metadata, .raid1]) {
            $0.lengthMin = MiB
            $0.emptySize = 64 * KiB
            $0.alignment = 16 * KiB
        }
        for part in [
            "3 MiB", "at least 1 MiB", "METADATA|RAID1", "64 KiB more", "aligned to 16 KiB",
        ] {
            #expect(text.contains(part), "\(part) in \(text)")
        }
        #expect(try self.text(try Allocator()).contains("DATA (any profile)"))
        #expect(
            try self.text(try Allocator(), sector, [.data, .availSingle]).contains("DATA|single")
        )
    }

    @Test func aGroupIsReadOnly() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(MiB, MiB).setReadOnly(true)
        #expect(line(try text(allocator), MiB).hasSuffix("read-only"))
    }

    @Test func aGroupIsOfTheWrongType() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, .metadata)
        try allocator.addFreeGroup(MiB, MiB, [.data, .raid1])
        #expect(line(try text(allocator), 0).contains("wrong type or profile"))
        #expect(line(try text(allocator, sector, [.data, .dup]), MiB).contains("wrong type"))
        #expect(
            line(try text(allocator, sector, [.data, .availSingle]), MiB).contains("wrong type")
        )
        #expect(line(try text(allocator), MiB).contains("has room"))
    }

    @Test func aGroupIsTooFull() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 2 * sector)
        let text = try text(allocator)
        #expect(line(text, 0).contains("8 KiB free in 1 run: too full"), "\(text)")
        #expect(!text.contains("would find space"))
    }

    @Test func aGroupIsTooShortThoughAllOfItIsFree() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let text = try text(allocator, 2 * MiB)
        #expect(line(text, 0).contains("1 MiB free in 1 run: shorter than what is wanted"))
    }

    /// What no group can hold is refused before any is searched, and explained all the same.
    @Test(arguments: [(1 << 31) * sector, 1 << 50, UInt64.max & ~(sector - 1)])
    func moreThanAnyGroupCanHoldIsExplained(length: UInt64) throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        try allocator.addFreeGroup(MiB, ((1 << 31) - 1) * sector)
        #expect(allocator.refusal(length) == .noSpace)
        let text = try text(allocator, length)
        #expect(text.hasPrefix("wanted: "))
        for logical in [0, MiB] {
            #expect(line(text, logical).contains("shorter than what is wanted"), "\(text)")
        }
        #expect(!text.contains("would find space"))
        #expect(
            try self.text(allocator, length) { $0.lengthMin = sector }.contains("would find space")
        )
        #expect(throws: AllocationError(.invalidArgument)) {
            try self.text(allocator, length) { $0.alignment = 1 }
        }
    }

    @Test func aGroupIsTooFragmentedAndItsLargestRunIsTold() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        for index in 0..<8 as Range<UInt64> {
            try group.addFreeSpace(logical: index * 32 * sector, length: (4 + index) * sector)
        }
        let text = try text(allocator)
        #expect(line(text, 0).contains("in 8 runs, the largest 44 KiB: too fragmented"), "\(text)")
    }

    @Test func boundsAndAlignmentLeaveNoRoom() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(sector, MiB)
        for adjust in [
            { $0.searchEnd = 32 * KiB }, { $0.searchStart = MiB }, { $0.alignment = 1 << 40 },
            { $0.excludeLength = 2 * MiB },
        ] as [(inout ClaimRequest) -> Void] {
            let text = try text(allocator, 64 * KiB, .data, adjust)
            #expect(line(text, sector).contains("no run inside the bounds"), "\(text)")
        }
        #expect(allocator.group(at: sector)?.runs == ["0+256"])
    }

    @Test func aGroupIsNotCachedYetAndIsNotCachedForThis() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        #expect(line(try text(allocator), 0).contains("not cached yet"))
        #expect(source.cacheCalls.now == 0)
    }

    @Test func aGroupCouldNotBeCached() throws {
        let source = TestSource()
        source.onCache = { _ in AllocationError(.io) }
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        #expect(allocator.refusal(sector) == .io)
        let text = try text(allocator)
        #expect(line(text, 0).contains("could not be read: error 5"), "\(text)")
        #expect(!text.contains("would find space"))
    }

    @Test func superBlockCopiesAreTold() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(
            logical: 0,
            length: MiB,
            flags: .data,
            superBytes: 64 * KiB
        )
        try group.addFreeSpace(logical: 0, length: 32 * KiB)
        #expect(line(try text(allocator), 0).contains("64 KiB kept for super block copies"))
    }

    @Test(arguments: [true, false, nil] as [Bool?])
    func roomForAChunkIsTold(room: Bool?) throws {
        let source = TestSource()
        source.room = room
        let text = try text(try Allocator(source: source))
        let expected =
            switch room {
            case .some(true): "a device has a hole for a chunk"
            case .some(false): "no device has a hole for a chunk"
            case .none: "a chunk would be asked for"
            }
        #expect(text.contains(expected))
        #expect(source.chunkCalls.now == 0)
    }

    @Test func aClaimThatWouldBeServedIsSaidToBe() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(MiB, MiB)
        let text = try text(allocator)
        #expect(line(text, MiB).contains("has room, at 1048576"))
        #expect(text.contains("a claim made now would find space"))
        #expect(group.runs == ["0+256"])
        #expect(group.statistics.claimedBytes == 0)
    }

    @Test func everyGroupHasALineHoweverManyThereAre() throws {
        let allocator = try Allocator()
        for index in 0..<500 as Range<UInt64> {
            try allocator.addGroup(logical: index * MiB, length: MiB, flags: .data)
        }
        let text = try text(allocator)
        for index in 0..<500 as Range<UInt64> { #expect(line(text, index * MiB) != "") }
    }

    @Test func aBadRequestIsNotExplained() throws {
        let allocator = try Allocator()
        #expect(throws: AllocationError(.invalidArgument)) {
            _ = try allocator.explain(ClaimRequest(length: 1, flags: .data))
        }
    }

    @Test func errorsHaveTheirErrnoAndWords() {
        let codes: [(AllocationError.Code, CInt)] = [
            (.noSpace, 28), (.invalidArgument, 22), (.exists, 17), (.notFound, 2), (.busy, 16),
            (.readOnly, 30), (.io, 5), (.corrupt, 117), (.noMemory, 12), (.system(71), 71),
        ]
        for (code, errno) in codes {
            #expect(AllocationError(code).errno == errno)
            #expect(AllocationError(result: -errno).code == code)
            #expect(AllocationError(code).text.utf8CodeUnitCount > 0)
        }
    }
}
