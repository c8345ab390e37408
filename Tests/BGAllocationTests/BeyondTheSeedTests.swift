//===-- BeyondTheSeedTests.swift - what the contract asks beyond the seed ------------------------===//
// Giving back never fails and allocates nothing; wrong give-backs change nothing, on every path; free
// space is added once. Explanations are in ExplainTests, the Swift ownership of a claim in the compiler.

import BGAllocation
import Foundation
import Testing

/// Bytes of the heap in use by the whole process: mallinfo2().uordblks, which no module exports. As
/// the C ABI of x86-64 has it, the caller passes the place of a large result as a first argument.
private func heapBytes() -> Int {
    typealias Function = @convention(c) (UnsafeMutablePointer<Int>) -> UnsafeMutableRawPointer
    let mallinfo2 = unsafeBitCast(dlsym(nil, "mallinfo2"), to: Function.self)
    return withUnsafeTemporaryAllocation(of: Int.self, capacity: 10) { fields in
        fields.initialize(repeating: 0)
        _ = mallinfo2(fields.baseAddress!)
        return fields[7]
    }
}

#if arch(x86_64)
    // A sanitizer's malloc answers with zeros: counted as skipped there.
    private let canMeasureHeap = dlsym(nil, "mallinfo2") != nil && heapBytes() > 0
#else
    private let canMeasureHeap = false
#endif

@Suite(.serialized) struct BeyondTheSeedTests {
    // MARK: give-backs that are wrong

    @Test(arguments: [true, false])
    func givingBackWhatIsFreeIsRefusedAndChangesNothing(magazines: Bool) throws {
        let allocator = try Allocator(magazines: magazines)
        let group = try allocator.addFreeGroup(0, MiB)
        let held = try allocator.take(100 * sector)
        for (start, count) in [(100, 1), (99, 2), (0, 256), (100, 156), (255, 1)]
            as [(UInt64, UInt64)]
        {
            let refusal = allocator.giveBackRefusal(start * sector, count * sector)
            #expect(refusal == .exists || refusal == .invalidArgument)
            #expect(group.runs == ["100+156"])
            #expect(group.statistics.claimedBytes == 100 * sector)
        }
        try allocator.giveBack(held)
        #expect(allocator.giveBackRefusal(0, sector) == .exists)
        #expect(group.runs == ["0+256"])
    }

    @Test(arguments: [true, false])
    func givingBackWhatWasNeverInTheGroupIsRefused(magazines: Bool) throws {
        let allocator = try Allocator(magazines: magazines)
        let group = try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        try group.addFreeSpace(logical: MiB, length: 64 * sector)
        #expect(allocator.giveBackRefusal(MiB + 64 * sector, sector) == .invalidArgument)
        #expect(allocator.giveBackRefusal(0, sector) == .invalidArgument)
        #expect(allocator.giveBackRefusal(2 * MiB, sector) == .invalidArgument)
        #expect(allocator.giveBackRefusal(2 * MiB - sector, 2 * sector) == .invalidArgument)
        let held = try allocator.take(sector)
        #expect(allocator.giveBackRefusal(MiB + 64 * sector, 2 * sector) == .invalidArgument)
        #expect(group.statistics.freeBytes == 63 * sector)
        try allocator.giveBack(held)
        #expect(group.runs == ["0+64"])
    }

    @Test func unalignedAndEmptyGiveBacksAreRefused() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        _ = try allocator.take(MiB)
        for (start, length) in [(0, 0), (1, sector), (0, 1), (0, sector + 1), (512, 512)] {
            #expect(allocator.giveBackRefusal(UInt64(start), UInt64(length)) == .invalidArgument)
        }
        #expect(allocator.giveBackRefusal(0, UInt64.max & ~(sector - 1)) == .invalidArgument)
    }

    @Test func givingBackWorksWhileAGroupIsReadOnly() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let small = try allocator.take(sector)
        let large = try allocator.take(200 * sector)
        group.setReadOnly(true)
        try allocator.giveBack(small)
        try allocator.giveBack(large)
        #expect(group.runs == ["0+256"])
    }

    @Test func partsOfAClaimComeBackInAnyOrder() throws {
        var random = SeededRandom(testSeed)
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, 4 * MiB)
        let extent = try allocator.take(4 * MiB)
        for index in (0..<extent.length / sector).shuffled(using: &random) {
            try allocator.giveBack(Extent(logical: index * sector, length: sector))
        }
        #expect(group.runs == ["0+1024"], "seed \(testSeed)")
    }

    @Test func aClaimThatIsGivenBackWasNeverMade() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let request = ClaimRequest(length: 64 * KiB, flags: .data)
        let claim = try allocator.claim(request)
        #expect(group.statistics.claimedBytes == 64 * KiB)
        claim.giveBack()
        #expect(group.statistics.claimedBytes == 0)
        let kept = try allocator.claim(request).commit()
        #expect(group.statistics.claimedBytes == 64 * KiB)
        try allocator.giveBack(kept)
    }

    // MARK: free space

    @Test func freeSpaceThatIsFreeAlreadyIsRefusedAndChangesNothing() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 8 * sector, length: 8 * sector)
        for (start, count) in [(8, 8), (0, 9), (15, 1), (0, 256), (12, 100)] as [(UInt64, UInt64)] {
            #expect(throws: AllocationError(.exists)) {
                try group.addFreeSpace(logical: start * sector, length: count * sector)
            }
        }
        #expect(group.runs == ["8+8"])
    }

    @Test func freeSpaceOutsideTheGroupIsRefused() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        let bad: [(UInt64, UInt64)] = [
            (0, sector), (MiB - sector, 2 * sector), (2 * MiB, sector),
            (2 * MiB - sector, 2 * sector),
            (MiB, 0), (MiB + 1, sector), (MiB, UInt64.max), (UInt64.max - sector + 1, sector),
        ]
        for (start, length) in bad {
            #expect(throws: AllocationError(.invalidArgument)) {
                try group.addFreeSpace(logical: start, length: length)
            }
            #expect(throws: AllocationError(.invalidArgument)) {
                try group.removeFreeSpace(logical: start, length: length)
            }
        }
        #expect(group.runs == [])
    }

    // MARK: memory

    @Test(.enabled(if: canMeasureHeap))
    func claimsAndGiveBacksAllocateNothing() throws {
        // Other suites run beside this one and use the heap: what a claim kept or leaked would show
        // in all of many rounds, so the best round counts.
        let allocator = try Allocator()
        for index in 0..<4 as Range<UInt64> { try allocator.addFreeGroup(index * 8 * MiB, 8 * MiB) }
        var random = SeededRandom(testSeed)
        var held: [Extent] = []
        held.reserveCapacity(10_000)
        var least = Int.max
        for _ in 0..<20 {
            let before = heapBytes()
            for _ in 0..<5_000 {
                if held.count > 500 || (!held.isEmpty && random.next() % 3 == 0) {
                    let extent = held.remove(at: Int(random.next() % UInt64(held.count)))
                    try allocator.giveBack(extent)
                } else {
                    let sectors =
                        random.next() % 4 == 0 ? 1 + random.next() % 64 : 1 + random.next() % 8
                    let extent = try? allocator.take(sectors * sector) {
                        if sectors > 32 { $0.searchStart = sector }
                    }
                    if let extent { held.append(extent) }
                }
            }
            least = min(least, max(0, heapBytes() - before))
        }
        #expect(heapBytes() > 0)
        #expect(least < 5_000, "5000 operations left at least \(least) bytes on the heap")
        for extent in held { try allocator.giveBack(extent) }
    }

    @Test func aGroupOfManyRunsTakesGiveBacksWithoutTheHeap() throws {
        let allocator = try Allocator(magazines: false)
        let group = try allocator.addFreeGroup(0, 64 * MiB)
        let all = try allocator.take(64 * MiB)
        let indexBytes = group.statistics.indexBytes
        for index in stride(from: 0, to: all.length / sector, by: 2) {
            try allocator.giveBack(Extent(logical: index * sector, length: sector))
        }
        #expect(group.statistics.runCount == 8192)
        #expect(group.statistics.largestRun == sector)
        for index in stride(from: 1, to: all.length / sector, by: 2) {
            try allocator.giveBack(Extent(logical: index * sector, length: sector))
        }
        #expect(group.runs == ["0+16384"])
        #expect(group.statistics.indexBytes <= indexBytes + 64 * KiB)
    }
}
