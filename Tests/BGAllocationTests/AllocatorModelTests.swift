//===-- AllocatorModelTests.swift - random operations against a plain model ----------------------===//
// One thread plays claims of every kind, give-backs whole, partial and wrong, changes of free space,
// read-only groups, groups that come and go; every answer, every statistic and every free run must be
// the model's (SectorModel.swift). Not covered: hooks and threads.
//
// Replay with BG_SEED=…; BG_TEST_SCALE=n plays n times as many operations.

import BGAllocation
import Testing

#if DEBUG
    private let stepsEach = 12_000
#else
    private let stepsEach = 400_000
#endif

private struct Player {
    let allocator: Allocator
    var model = SectorModel()
    var held: [Extent] = []
    var random: SeededRandom
    var step = 0
    /// Claims that were served and refused, give-backs that were refused: all must occur.
    var served = 0
    var refused = 0
    var wrong = 0
    let seed: UInt64
    /// Slots that groups come and go in: first sector, sectors, flags.
    static let slots: [(first: Int, count: Int, flags: BlockGroupFlags)] = [
        (0, 100, .data), (100, 33, .data), (133, 600, [.data, .raid1]), (1000, 64, .metadata),
        (1064, 300, [.data, .metadata]), (2048, 4096, .data), (7001, 1, .data),
        (1 << 30, 257, [.metadata, .dup]),
    ]

    init(seed: UInt64, magazines: Bool) throws {
        self.seed = seed
        random = SeededRandom(seed)
        allocator = try Allocator(magazines: magazines)
        for slot in Self.slots { try addGroup(slot, free: true) }
    }

    var note: String { "seed \(seed), step \(step)" }

    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

    func handle(_ group: ModelGroup) -> BlockGroup {
        allocator.group(at: UInt64(group.first) * sector)!
    }

    mutating func addGroup(
        _ slot: (first: Int, count: Int, flags: BlockGroupFlags),
        free: Bool
    ) throws {
        let group = try allocator.addGroup(
            logical: UInt64(slot.first) * sector,
            length: UInt64(slot.count) * sector,
            flags: slot.flags
        )
        var added = ModelGroup(
            first: slot.first,
            flags: slot.flags,
            owners: Array(repeating: .nobody, count: slot.count)
        )
        if free {
            try group.addFreeSpace(logical: group.logical, length: group.length)
            added.set(added.first..<added.end, .free)
        }
        model.groups.append(added)
    }

    mutating func length() -> Int { below(10) < 7 ? 1 + below(16) : 1 + below(300) }

    mutating func wish() -> ModelWish {
        let flags: [BlockGroupFlags] = [
            .data, .data, .data, .metadata, [.data, .raid1], [.data, .metadata],
            [.data, .availSingle], [.metadata, .dup], .system,
        ]
        let wanted = length()
        var wish = ModelWish(flags: flags[below(flags.count)], length: wanted, lengthMin: wanted)
        if below(2) == 0 { return wish }
        if below(3) == 0 { wish.lengthMin = 1 + below(wanted) }
        if below(4) == 0 { wish.empty = below(200) }
        if below(4) == 0 { wish.alignment = 1 + below(40) }
        if below(4) == 0 { wish.hint = below(7100) }
        if below(4) == 0 { wish.start = below(7100) }
        if below(4) == 0 { wish.end = wish.start + 1 + below(3000) }
        if below(4) == 0 {
            let start = below(7000)
            wish.exclude = start..<start + 1 + below(3000)
        }
        return wish
    }

    mutating func claim() {
        let wish = wish()
        let served = model.lengthServed(wish)
        do throws(AllocationError) {
            let extent = try allocator.claim(wish.request).commit()
            #expect(served.map { UInt64($0) * sector } == extent.length, "\(wish), \(note)")
            let note = note
            model.take(extent, wish, "\(wish), \(note)")
            held.append(extent)
            self.served += 1
        } catch {
            refused += 1
            #expect(error.code == .noSpace, "\(wish), \(note)")
            #expect(served == nil, "refused though there is room: \(wish), \(note)")
        }
    }

    mutating func claimInGroup() {
        let index = below(model.groups.count)
        let group = model.groups[index]
        var wish = ModelWish(flags: .data, length: length(), lengthMin: 0)
        wish.lengthMin = wish.length
        if below(3) == 0 { wish.empty = below(64) }
        if below(3) == 0 { wish.alignment = 1 + below(40) }
        if below(3) == 0 { wish.start = group.first + below(group.owners.count) }
        let expected =
            group.isReadOnly
            ? nil
            : group.place(
                wish.length,
                empty: wish.empty,
                alignment: wish.alignment,
                start: wish.start
            )
        do throws(AllocationError) {
            let extent = try handle(group).claim(wish.request).commit()
            #expect(expected.map { UInt64($0) * sector } == extent.logical, "\(wish), \(note)")
            wish.flags = group.flags
            wish.empty = 0
            let note = note
            model.take(extent, wish, "\(wish), \(note)")
            held.append(extent)
        } catch {
            #expect(error.code == (group.isReadOnly ? .readOnly : .noSpace), "\(wish), \(note)")
            #expect(expected == nil, "refused though there is room: \(wish), \(note)")
        }
    }

    /// Gives back one extent, or a part of it, and sometimes tries it again.
    mutating func giveBack() {
        guard !held.isEmpty else { return }
        let index = below(held.count)
        held.swapAt(index, held.count - 1)
        var extent = held.removeLast()
        let sectors = Int(extent.length / sector)
        if sectors > 1, below(3) == 0 {
            let kept = 1 + below(sectors - 1)
            var rest = extent
            rest.length = UInt64(kept) * sector
            extent.logical += rest.length
            extent.length -= rest.length
            if below(2) == 0 { swap(&rest, &extent) }
            held.append(rest)
        }
        #expect(
            allocator.giveBackRefusal(extent.logical, extent.length) == nil,
            "\(extent), \(note)"
        )
        set(extent, .free)
        if below(4) == 0 {
            let again = allocator.giveBackRefusal(extent.logical, extent.length)
            #expect(again == .exists || again == .invalidArgument, "\(extent), \(note)")
        }
    }

    mutating func set(_ extent: Extent, _ owner: Owner) {
        let range = Int(extent.logical / sector)..<Int((extent.logical + extent.length) / sector)
        let index = model.groups.firstIndex {
            $0.first <= range.lowerBound && range.upperBound <= $0.end
        }!
        model.groups[index].set(range, owner)
    }

    /// A give-back of any range whatever, which must be refused unless it ends claims.
    mutating func giveBackAnything() {
        let start = below(7100)
        let range = start..<start + 1 + below(below(2) == 0 ? 16 : 600)
        guard
            let group = model.groups.first(where: {
                $0.first <= range.lowerBound && range.upperBound <= $0.end
            })
        else {
            #expect(
                allocator.giveBackRefusal(
                    UInt64(range.lowerBound) * sector,
                    UInt64(range.count) * sector
                )
                    == .invalidArgument,
                "\(range), \(note)"
            )
            return
        }
        let anyFree = group.any(range, is: .free)
        // What it cannot know: ranges that were never free, while as much is claimed elsewhere.
        guard anyFree || range.count > group.count(.claimed) else { return }
        let refusal = allocator.giveBackRefusal(
            UInt64(range.lowerBound) * sector,
            UInt64(range.count) * sector
        )
        #expect(refusal == .exists || refusal == .invalidArgument, "\(range), \(note)")
        wrong += 1
        if !anyFree { #expect(refusal == .invalidArgument, "\(range), \(note)") }
    }

    mutating func changeFreeSpace() {
        let index = below(model.groups.count)
        let group = model.groups[index]
        let start = group.first + below(group.owners.count)
        let range = start..<min(group.end, start + 1 + below(40))
        let bytes = (UInt64(range.lowerBound) * sector, UInt64(range.count) * sector)
        if below(2) == 0 {
            let removed = errorCode { () throws(AllocationError) in
                try handle(group).removeFreeSpace(logical: bytes.0, length: bytes.1)
            }
            let can = group.all(range, are: .free)
            #expect(removed == (can ? nil : .notFound), "\(range), \(note)")
            if can { model.groups[index].set(range, .nobody) }
        } else if !group.any(range, is: .claimed) {
            let added = errorCode { () throws(AllocationError) in
                try handle(group).addFreeSpace(logical: bytes.0, length: bytes.1)
            }
            let can = group.all(range, are: .nobody)
            #expect(added == (can ? nil : .exists), "\(range), \(note)")
            if can { model.groups[index].set(range, .free) }
        }
    }

    mutating func addOrRemoveGroup() throws {
        let slot = Self.slots[below(Self.slots.count)]
        if let index = model.groups.firstIndex(where: { $0.first == slot.first }) {
            let removed = errorCode { () throws(AllocationError) in
                try allocator.removeGroup(logical: UInt64(slot.first) * sector)
            }
            let can = model.groups[index].count(.claimed) == 0
            #expect(removed == (can ? nil : .busy), "\(slot), \(note)")
            if can { model.groups.remove(at: index) }
            if model.groups.isEmpty { try addGroup(slot, free: true) }
        } else {
            try addGroup(slot, free: below(4) != 0)
        }
    }

    mutating func setReadOnly() {
        let index = below(model.groups.count)
        let readOnly = below(4) == 0
        handle(model.groups[index]).setReadOnly(readOnly)
        model.groups[index].isReadOnly = readOnly
    }

    /// Leaves a group with as many runs as it can have, or gives back all that is claimed.
    mutating func shatterOrHeal() {
        if below(2) == 0 {
            while !held.isEmpty { giveBack() }
            return
        }
        guard let group = model.groups.first(where: { $0.owners.count > 4000 && !$0.isReadOnly })
        else {
            return
        }
        for run in group.runs {
            for start in stride(from: run.lowerBound, to: run.upperBound, by: 2) {
                var wish = ModelWish(flags: group.flags, length: 1, lengthMin: 1)
                wish.start = start
                wish.end = start + 1
                guard let extent = try? allocator.claim(wish.request).commit() else {
                    Issue.record("sector \(start) is free: \(note)")
                    return
                }
                model.take(extent, wish, "shattering")
                held.append(extent)
            }
        }
    }

    func checkGroup(_ group: ModelGroup) {
        let handle = handle(group)
        let statistics = handle.statistics
        let runs = group.runs
        #expect(statistics.freeBytes == UInt64(group.count(.free)) * sector, "\(note)")
        #expect(statistics.claimedBytes == UInt64(group.count(.claimed)) * sector, "\(note)")
        #expect(statistics.runCount == UInt64(runs.count), "\(note)")
        #expect(statistics.largestRun == UInt64(runs.map(\.count).max() ?? 0) * sector, "\(note)")
        #expect(statistics.isReadOnly == group.isReadOnly)
        let expected = runs.map { "\($0.lowerBound - group.first)+\($0.count)" }
        #expect(handle.runs == expected, "\(note)")
    }

    mutating func explain() throws {
        let wish = wish()
        let text = try allocator.explain(wish.request)
        var least = wish
        least.length = wish.lengthMin
        let room = model.lengthServed(least) != nil
        #expect(text.contains("would find space") == room, "\(wish), \(note)\n\(text)")
    }

    mutating func play(_ steps: Int) throws {
        for step in 0..<steps {
            self.step = step
            switch below(1000) {
            case 0..<380: claim()
            case 380..<500: claimInGroup()
            case 500..<880: giveBack()
            case 880..<920: giveBackAnything()
            case 920..<970: changeFreeSpace()
            case 970..<980: setReadOnly()
            case 980..<984: try addOrRemoveGroup()
            case 984..<985: shatterOrHeal()
            case 985..<990: try explain()
            default: checkGroup(model.groups[below(model.groups.count)])
            }
        }
        for group in model.groups { checkGroup(group) }
        #expect(served > steps / 20 && refused > steps / 500 && wrong > steps / 500)
    }
}

@Suite struct AllocatorModelTests {
    @Test(arguments: 0..<8 as Range<UInt64>)
    func everyAnswerIsTheModels(stream: UInt64) throws {
        let seed = testSeed &+ stream &* 1_000_003
        print("AllocatorModelTests: BG_SEED=\(testSeed), stream \(stream)")
        var player = try Player(seed: seed, magazines: stream % 4 != 3)
        try player.play(stepsEach * testScale)
    }
}
