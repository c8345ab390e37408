// Random histories of a file system in memory: items, extents, shared extents, checksums, chunks, commits
// and reopening, with free space placed in order and scattered. After every commit the whole device is
// read back and compared with itself and with the model.
//
// Replay with BG_SEED=…; BG_TEST_SCALE=n plays n times as many steps.

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees

private struct Player {
    let fixture: Fixture
    var random: SeededGenerator
    let isScattered: Bool
    var chunks = 0

    init(_ features: FixtureFeatures, seed: UInt64, isScattered: Bool) throws {
        fixture = try Fixture(features, metadataBytes: 24 << 20, dataBytes: 8 << 20)
        random = SeededGenerator(state: seed)
        self.isScattered = isScattered
        scatter()
    }

    mutating func scatter() {
        if isScattered { fixture.host.scatter = SeededGenerator(state: random.next()) }
    }

    func part(_ number: Int) -> Key {
        Key(257 + UInt64(number % 10), .extentData, UInt64(number / 10) << 20)
    }

    mutating func step() throws {
        switch random.below(100) {
        case 0..<30:
            let key = part(random.below(600))
            let length = UInt64(1 + random.below(4)) * 4096
            // Where groups are full, there is nothing to see here.
            do throws(FilesystemError) {
                let logical = try fixture.host.claimData(length)
                fixture.host.giveBack(logical: logical, length: length)
            } catch {
                #expect(error.code == .noSpace)
                return
            }
            try fixture.write(key, length: length, withSums: random.below(4) > 0)
        case 30..<50: try fixture.remove(part(random.below(600)))
        case 50..<60:
            if let source = fixture.parts.keys.sorted().randomElement(using: &random) {
                try fixture.share(source, at: part(random.below(600)))
            }
        case 60..<90:
            let key = Key(1000 + UInt64(random.below(500)), .inodeItem, 0)
            let length = random.below(200)
            let data = [UInt8](repeating: UInt8(truncatingIfNeeded: length), count: length)
            try fixture.setItem(key, random.below(3) == 0 ? nil : data)
        case 90..<92:
            if chunks < 12 {
                chunks += 1
                let types: [ChunkFlags] = [.data, .metadata, .system]
                fixture.host.addChunk(types[random.below(3)], 1 << 20)
            }
        case 92: _ = fixture.host.removeEmptyChunk(.data)
        case 93..<98: try fixture.commitAndCheck()
        case 98:
            try fixture.commitAndCheck()
            try fixture.reopen()
            scatter()
        default:
            for key in fixture.parts.keys.sorted() where random.below(2) == 0 {
                try fixture.remove(key)
            }
        }
    }
}

@Suite struct TransactionModelTests {
    @Test(arguments: FixtureFeatures.all, [false, true])
    func everyHistoryIsReadBackAsItWas(_ features: FixtureFeatures, _ isScattered: Bool) throws {
        print("transaction model: BG_SEED=\(testSeed), \(features.testDescription)")
        var player = try Player(features, seed: testSeed, isScattered: isScattered)
        for _ in 0..<300 * testScale { try player.step() }
        try player.fixture.commitAndCheck()
        for key in player.fixture.parts.keys.sorted() { try player.fixture.remove(key) }
        for key in player.fixture.items.keys.sorted() where key.objectid > 256 {
            try player.fixture.setItem(key, nil)
        }
        try player.fixture.commitAndCheck()
        let facts = try FileSystemFacts(player.fixture.host.disk)
        #expect(facts.checksums.isEmpty)
        #expect(facts.extents.values.allSatisfy { $0.level != nil })
    }
}
