//===-- ChunkPlanningTests.swift - what the next chunk is made of ---------------------------------===//
// The kernel's sizes and choices as a table, what devices of unequal size hold, damaged device trees,
// and random chunks that come and go against a plain map of each device. BG_SEED replays the random
// part, BG_TEST_SCALE makes it longer.
// Not here: the same beside the kernel itself, which needs a mount (BlockGroupsTests).

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private let mebibyte: UInt64 = 1 << 20
private let gibibyte: UInt64 = 1 << 30
private let fsid = FilesystemUUID(high: 1, low: 2)
private let format = DeviceSpace.Format(
    sectorSize: 4096,
    nodeSize: 16384,
    chunkTreeUUID: FilesystemUUID(high: 5, low: 6)
)

private func item(_ devid: UInt64, _ bytes: UInt64) -> DeviceItem {
    DeviceItem(
        devid: devid,
        totalBytes: bytes,
        sectorSize: 4096,
        uuid: FilesystemUUID(high: 3, low: devid),
        filesystemUUID: fsid
    )
}

private func space(_ sizes: [UInt64]) throws -> DeviceSpace {
    try DeviceSpace(sizes.enumerated().map { item(UInt64($0) + 1, $1) }, format)
}

private func plan(
    _ space: inout DeviceSpace,
    _ flags: ChunkFlags,
    lengthMax: UInt64 = .max
) throws -> ChunkPlan {
    let plan = space.planChunk(flags, lengthMax: lengthMax)
    return try #require(plan)
}

/// One chunk on empty devices, as the kernel would make it.
private struct PlanCase: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let flags: ChunkFlags
    let sizes: [UInt64]
    let devids: [UInt64]
    let stripeBytes: UInt64
    let length: UInt64

    init(
        _ name: String,
        _ flags: ChunkFlags,
        _ sizes: [UInt64],
        _ devids: [UInt64],
        stripe: UInt64,
        length: UInt64
    ) {
        testDescription = name
        self.flags = flags
        self.sizes = sizes
        self.devids = devids
        stripeBytes = stripe
        self.length = length
    }
}

private let hundred = Array(repeating: 100 * gibibyte, count: 100)
private let planCases: [PlanCase] = [
    PlanCase(
        "a tenth, rounded up to 16 MiB",
        .data,
        [gibibyte],
        [1],
        stripe: 112 * mebibyte,
        length: 112 * mebibyte
    ),
    PlanCase("1 GiB", .data, [100 * gibibyte], [1], stripe: gibibyte, length: gibibyte),
    PlanCase(
        "dup, both on one device",
        .metadata | .dup,
        [gibibyte],
        [1, 1],
        stripe: 112 * mebibyte,
        length: 112 * mebibyte
    ),
    PlanCase(
        "dup, in what is left of a small device",
        .metadata | .dup,
        [21 * mebibyte],
        [1, 1],
        stripe: 10 * mebibyte,
        length: 10 * mebibyte
    ),
    PlanCase(
        "metadata of small devices",
        .metadata,
        [50 * gibibyte],
        [1],
        stripe: 256 * mebibyte,
        length: 256 * mebibyte
    ),
    PlanCase(
        "metadata of large devices",
        .metadata | .raid1,
        [30 * gibibyte, 30 * gibibyte],
        [1, 2],
        stripe: gibibyte,
        length: gibibyte
    ),
    PlanCase(
        "system",
        .system | .raid1c3,
        [gibibyte, 2 * gibibyte, 3 * gibibyte],
        [3, 2, 1],
        stripe: 32 * mebibyte,
        length: 32 * mebibyte
    ),
    PlanCase(
        "raid1, the two with most room",
        .data | .raid1,
        [10 * gibibyte, 30 * gibibyte, 20 * gibibyte],
        [2, 3],
        stripe: gibibyte,
        length: gibibyte
    ),
    PlanCase(
        "raid1c4",
        .data | .raid1c4,
        [10 * gibibyte, 30 * gibibyte, 20 * gibibyte, 20 * gibibyte, 5 * gibibyte],
        [2, 3, 4, 1],
        stripe: gibibyte,
        length: gibibyte
    ),
    PlanCase(
        "raid0, all of them",
        .data | .raid0,
        [20 * gibibyte, 20 * gibibyte, 20 * gibibyte],
        [1, 2, 3],
        stripe: gibibyte,
        length: 3 * gibibyte
    ),
    PlanCase(
        "raid0 of one",
        .data | .raid0,
        [20 * gibibyte],
        [1],
        stripe: gibibyte,
        length: gibibyte
    ),
    PlanCase(
        "raid0, never above 10 GiB but for the rounding",
        .data | .raid0,
        Array(hundred.prefix(30)),
        Array(1...30),
        stripe: 352 * mebibyte,
        length: 30 * 352 * mebibyte
    ),
    PlanCase(
        "raid0, the shortest hole decides",
        .data | .raid0,
        [20 * gibibyte, 500 * mebibyte],
        [1, 2],
        stripe: 499 * mebibyte,
        length: 2 * 499 * mebibyte
    ),
    PlanCase(
        "raid10, an even number",
        .data | .raid10,
        Array(hundred.prefix(5)),
        [1, 2, 3, 4],
        stripe: gibibyte,
        length: 2 * gibibyte
    ),
    PlanCase(
        "raid10 of two",
        .data | .raid10,
        Array(hundred.prefix(2)),
        [1, 2],
        stripe: gibibyte,
        length: gibibyte
    ),
    PlanCase(
        "raid6",
        .data | .raid6,
        Array(hundred.prefix(5)),
        [1, 2, 3, 4, 5],
        stripe: gibibyte,
        length: 3 * gibibyte
    ),
    PlanCase(
        "system, no more devices than fit the super block twice",
        .system | .raid0,
        hundred,
        Array(1...29),
        stripe: 16 * mebibyte,
        length: 29 * 16 * mebibyte
    ),
    PlanCase(
        "mixed",
        .data | .metadata,
        [100 * gibibyte],
        [1],
        stripe: gibibyte,
        length: gibibyte
    ),
]

@Suite struct ChunkPlanningTests {
    @Test(arguments: planCases)
    fileprivate func theFirstChunkIsAsTheKernelMakesIt(_ wanted: PlanCase) throws {
        var space = try space(wanted.sizes)
        #expect(space.hasRoom(wanted.flags))
        let made = try plan(&space, wanted.flags)
        let chunk = made.chunk
        #expect(chunk.stripes.map(\.devid) == wanted.devids)
        #expect(chunk.stripeBytes == wanted.stripeBytes && chunk.length == wanted.length)
        #expect(chunk.logical == mebibyte && chunk.flags == wanted.flags)
        #expect(made.extents.map(\.devid) == wanted.devids)
        #expect(made.extents.map(\.physical) == chunk.stripes.map(\.physical))
        #expect(made.extents.allSatisfy { $0.length == wanted.stripeBytes })
        #expect(made.extents.allSatisfy { $0.chunkLogical == mebibyte && $0.physical >= mebibyte })
        let limits = FormatLimits(
            sectorSize: 4096,
            nodeSize: 16384,
            generation: 1,
            incompat: .mixedGroups
        )
        let bytes = chunk.encoded
        #expect(try ChunkItem(key: chunk.key, bytes.span.bytes, limits) == chunk)
        space.checkInvariants()
    }

    @Test func whatTheProfileNeedsMoreDevicesForIsRefused() throws {
        let profiles: [(Profile, Int)] = [
            (.raid1, 1), (.raid10, 1), (.raid1c3, 2), (.raid1c4, 3), (.raid5, 1), (.raid6, 2),
        ]
        for (profile, devices) in profiles {
            var space = try space(Array(repeating: gibibyte, count: devices))
            #expect(!space.hasRoom(.data | profile.flags))
            let plan = space.planChunk(.data | profile.flags)
            #expect(plan == nil)
            space.checkInvariants()
        }
        var small = try space([mebibyte + 65535])
        let none = small.planChunk(.data)
        #expect(none == nil)
        var dup = try space([mebibyte + 131_071])
        let noPair = dup.planChunk(.metadata | .dup)
        #expect(noPair == nil)
    }

    @Test func chunksLieBehindOneAnotherAndAddressesAreNeverUsedTwice() throws {
        var space = try space([10 * gibibyte])
        let first = try plan(&space, .data)
        let second = try plan(&space, .metadata | .dup)
        #expect(second.chunk.logical == first.chunk.end)
        #expect(second.chunk.stripes[0].physical == first.extents[0].end)
        #expect(second.chunk.stripes[1].physical == second.extents[0].end)
        #expect(space.deviceItems[0].bytesUsed == gibibyte + 512 * mebibyte)
        space.release(second)
        #expect(space.deviceItems[0].bytesUsed == gibibyte)
        let third = try plan(&space, .data)
        #expect(third.chunk.logical == second.chunk.end)
        #expect(third.chunk.stripes[0].physical == first.extents[0].end)
    }

    @Test func aRemovedChunkIsNotReusedBeforeItsCommit() throws {
        var space = try space([100 * gibibyte])
        let first = try plan(&space, .data)
        let extents = space.remove(first.chunk)
        #expect(extents == first.extents)
        #expect(space.deviceItems[0].bytesUsed == 0)
        let second = try plan(&space, .data)
        #expect(second.extents[0].physical == first.extents[0].end)
        space.release(first.chunk)
        space.checkInvariants()
        let third = try plan(&space, .data)
        #expect(third.extents[0].physical == first.extents[0].physical)
        space.checkInvariants()
    }

    @Test func aShorterChunkMayBeAskedFor() throws {
        var space = try space([10 * gibibyte, 10 * gibibyte])
        let system = try plan(&space, .system | .raid1, lengthMax: 8 * mebibyte)
        #expect(system.chunk.length == 8 * mebibyte)
        let striped = try plan(&space, .data | .raid0, lengthMax: 8 * mebibyte + 1)
        #expect(striped.chunk.stripeBytes == 4 * mebibyte)
    }

    @Test func systemChunksStopWhereTheSuperBlockIsFull() throws {
        var space = try space([1000 * gibibyte])
        var plans: [ChunkPlan] = []
        while let plan = space.planChunk(.system | .dup, lengthMax: mebibyte) { plans.append(plan) }
        #expect(plans.count == 2048 / (17 + 48 + 64))
        #expect(SuperBlock.systemChunkArrayBytes(plans.map(\.chunk)) <= 2048)
        #expect(!space.hasRoom(.system | .dup) && space.hasRoom(.metadata | .dup))
        _ = space.remove(plans[0].chunk)
        #expect(!space.hasRoom(.system | .dup))
        space.release(plans[0].chunk)
        #expect(space.hasRoom(.system | .dup))
    }

    /// Two copies on different devices: half of everything, or what the others hold of the largest.
    @Test func unequalDevicesHoldWhatTwoCopiesCan() throws {
        let cases: [[UInt64]] = [
            [100, 100], [100, 50], [30, 20, 10], [90, 20, 20], [40, 40, 40], [70, 30, 30, 10],
            [64, 32, 16, 8, 4],
        ]
        for sizes in cases {
            var space = try space(sizes.map { $0 * gibibyte })
            var bytes: UInt64 = 0
            while let plan = space.planChunk(.data | .raid1) { bytes += plan.chunk.length }
            let total = sizes.reduce(0, +)
            let wanted = min(total / 2, total - sizes.max()!) * gibibyte
            #expect(bytes <= wanted && bytes + gibibyte >= wanted, "\(sizes)")
            space.checkInvariants()
        }
    }
}

@Suite struct DeviceSpaceOpeningTests {
    private func planned() throws -> (items: [DeviceItem], plans: [ChunkPlan]) {
        var space = try space([gibibyte, gibibyte])
        let flags: [ChunkFlags] = [.system | .raid1, .data, .metadata | .dup]
        let plans = flags.compactMap { space.planChunk($0) }
        #expect(plans.count == 3)
        return (space.deviceItems, plans)
    }

    private func open(
        _ items: [DeviceItem],
        _ extents: [DeviceExtent],
        _ chunks: [ChunkItem]
    ) throws -> DeviceSpace {
        try DeviceSpace(items, extents: extents, chunks: chunks, format)
    }

    @Test func whatWasPlannedIsThereWhenOpenedAgain() throws {
        let (items, plans) = try planned()
        var space = try open(items, plans.flatMap(\.extents), plans.map(\.chunk))
        space.checkInvariants()
        #expect(space.deviceItems == items)
        let next = try plan(&space, .data)
        #expect(next.chunk.logical == plans[2].chunk.end)
        for plan in plans {
            for extent in plan.extents where extent.devid == next.extents[0].devid {
                #expect(next.extents[0].physical >= extent.end)
            }
        }
    }

    @Test func devicesWhoseSizesHaveNoSumAreCorrupt() {
        #expect(throws: FilesystemError.self) { try space([.max, .max]) }
    }

    @Test func treesThatDoNotAgreeAreCorrupt() throws {
        let (items, plans) = try planned()
        let extents = plans.flatMap(\.extents)
        let chunks = plans.map(\.chunk)
        func message(_ body: () throws -> DeviceSpace) -> String? {
            let error = failure { _ = try body() }
            #expect(error?.code == .corrupt)
            return error?.message
        }
        let missing = message { try open(items, Array(extents.dropLast()), chunks) }
        #expect(missing?.hasSuffix("a stripe has no device extent of its own") == true)
        let orphan = message { try open(items, extents, Array(chunks.dropLast())) }
        #expect(orphan?.hasSuffix("5 device extents, chunks have 3 stripes") == true)
        var wrongSum = items
        wrongSum[0].bytesUsed += 4096
        #expect(
            message { try open(wrongSum, extents, chunks) }?.contains("its device extents") == true
        )
        var short = items
        short[0].totalBytes = extents.filter { $0.devid == 1 }.map(\.end).max()! - 4096
        #expect(message { try open(short, extents, chunks) }?.contains("device's end") == true)
        #expect(message { try open([items[0]], extents, chunks) }?.contains("on no device") == true)
        #expect(message { try open(items + [items[0]], extents, chunks) } != nil)
        var moved = chunks
        var movedExtents = extents
        let overlap = extents[0].physical + 4096
        moved[2].stripes[0] = ChunkStripe(
            devid: extents[0].devid,
            physical: overlap,
            deviceUUID: items[0].uuid
        )
        let index = extents.firstIndex { $0.chunkLogical == chunks[2].logical }!
        movedExtents[index].devid = extents[0].devid
        movedExtents[index].physical = overlap
        #expect(message { try open(items, movedExtents, moved) }?.contains("overlaps") == true)
    }
}

/// Each device as a row of 64 KiB units: true where a chunk lies, or did before a commit.
private struct DeviceModel {
    var units: [[Bool]]
    /// Bytes behind the last whole unit.
    let sizes: [UInt64]

    init(_ sizes: [UInt64]) {
        self.sizes = sizes
        units = sizes.map { Array(repeating: false, count: Int($0 / 65536)) }
    }

    /// Marks an extent; false where it lies outside, below 1 MiB, or on another one.
    mutating func set(_ extent: DeviceExtent, _ value: Bool) -> Bool {
        guard extent.physical >= mebibyte, extent.physical % 65536 == 0,
            extent.length > 0, extent.length % 65536 == 0
        else { return false }
        let row = Int(extent.devid) - 1
        let first = Int(extent.physical / 65536)
        let count = Int(extent.length / 65536)
        guard first + count <= units[row].count else { return false }
        for unit in first..<first + count {
            if units[row][unit] == value { return false }
            units[row][unit] = value
        }
        return true
    }

    /// Units of the longest free run above 1 MiB.
    func longest(_ row: Int) -> Int {
        var longest = 0
        var run = 0
        for unit in 16..<max(16, units[row].count) {
            run = units[row][unit] ? 0 : run + 1
            longest = max(longest, run)
        }
        return longest
    }

    func hasRoom(_ profile: Profile) -> Bool {
        let fitting = units.indices.filter { longest($0) >= profile.stripesPerDevice }.count
        return fitting >= profile.devicesMin
    }
}

@Suite struct ChunkPlanningModelTests {
    @Test func chunksComeAndGoAndNeverOverlap() throws {
        let scale =
            ProcessInfo.processInfo.environment["BG_TEST_SCALE"].flatMap { Int($0) } ?? 1
        for round in 0..<UInt64(20 * scale) {
            let seed = testSeed &+ round
            try play(seed)
        }
    }

    private func expect(
        _ model: inout DeviceModel,
        _ extent: DeviceExtent,
        _ value: Bool,
        _ comment: Comment
    ) {
        let isRight = model.set(extent, value)
        #expect(isRight, comment)
    }

    private func play(_ seed: UInt64) throws {
        var random = SeededGenerator(state: seed)
        let sizes = (0..<Int.random(in: 1...6, using: &random)).map { _ in
            UInt64.random(in: 1...2048, using: &random) * 65536 * 5
                + UInt64.random(in: 0..<65536, using: &random)
        }
        var space = try space(sizes)
        var model = DeviceModel(sizes)
        var live: [ChunkPlan] = []
        var removed: [ChunkItem] = []
        for step in 0..<150 {
            let comment: Comment = "seed \(seed), step \(step)"
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let profile = Profile.allCases.randomElement(using: &random)!
                let types: [ChunkFlags] = [.data, .metadata, .data | .metadata]
                let flags = types.randomElement(using: &random)! | profile.flags
                let lengthMax = UInt64.random(in: 1...(64 * mebibyte), using: &random)
                let plan = space.planChunk(flags, lengthMax: lengthMax)
                #expect((plan != nil) == model.hasRoom(profile), comment)
                guard let plan else { continue }
                #expect(profile.allows(stripeCount: plan.chunk.stripes.count), comment)
                let devices = Set(plan.extents.map(\.devid))
                #expect(devices.count * profile.stripesPerDevice == plan.extents.count, comment)
                for extent in plan.extents { expect(&model, extent, true, comment) }
                live.append(plan)
            case 6..<8 where !live.isEmpty:
                let plan = live.remove(at: Int.random(in: 0..<live.count, using: &random))
                if Bool.random(using: &random) {
                    space.release(plan)
                    for extent in plan.extents { expect(&model, extent, false, comment) }
                } else {
                    let extents = space.remove(plan.chunk)
                    #expect(extents == plan.extents, comment)
                    removed.append(plan.chunk)
                }
            case 8:
                for chunk in removed {
                    for stripe in chunk.stripes {
                        let extent = DeviceExtent(
                            devid: stripe.devid,
                            physical: stripe.physical,
                            length: chunk.stripeBytes,
                            chunkLogical: chunk.logical,
                            chunkTreeUUID: fsid
                        )
                        expect(&model, extent, false, comment)
                    }
                    space.release(chunk)
                }
                removed = []
            default:
                let extents = live.flatMap(\.extents)
                for device in space.deviceItems {
                    let used = extents.filter { $0.devid == device.devid }.map(\.length)
                    #expect(device.bytesUsed == used.reduce(0, +), comment)
                }
            }
            space.checkInvariants()
        }
    }
}
