//===-- ParityTests.swift - raid5 and raid6 rebuilds ------------------------------------------===//
// Rows of random data with P and Q computed here, slowly and apart from the library's arithmetic;
// then every choice of lost devices. And what the kernel wrote, where loop mounts exist.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

/// Multiplication in GF(2^8) with polynomial 0x11d, bit by bit.
private func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var product: UInt8 = 0
    var x = a
    var y = b
    while y != 0 {
        if y & 1 == 1 { product ^= x }
        x = x & 0x80 == 0 ? x << 1 : (x << 1) ^ 0x1d
        y >>= 1
    }
    return product
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "mkfs.btrfs and btrfs are not installed"))
struct ParityTests {
    /// Writes `rows` rows of random data with their parity; returns the data.
    private func fill(
        _ chunk: Chunk,
        rows: UInt64,
        _ devices: [MemoryDevice],
        _ random: inout SeededGenerator
    ) throws -> [UInt8] {
        let data = chunk.item.dataStripes
        let count = chunk.item.stripes.count
        var content: [UInt8] = []
        for row in 0..<rows {
            var p = [UInt8](repeating: 0, count: 65536)
            var q = p
            var power: UInt8 = 1
            var pieces: [[UInt8]] = []
            for _ in 0..<data {
                let piece = (0..<65536).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                let table = (0...255).map { multiply(UInt8($0), power) }
                for index in piece.indices {
                    p[index] ^= piece[index]
                    q[index] ^= table[Int(piece[index])]
                }
                power = multiply(power, 2)
                content += piece
                pieces.append(piece)
            }
            pieces.append(p)
            if chunk.item.profile == .raid6 { pieces.append(q) }
            for (role, piece) in pieces.enumerated() {
                let stripe = chunk.item.stripes[(role + Int(row)) % count]
                try devices[Int(stripe.devid) - 1].write(
                    physical: stripe.physical + row * 65536,
                    piece
                )
            }
        }
        return content
    }

    @Test(arguments: [("raid5", 2), ("raid5", 4), ("raid6", 3), ("raid6", 4), ("raid6", 6)])
    func everyLossThatParityStandsIsRebuilt(name: String, deviceCount: Int) throws {
        let image = try Image(deviceCount: deviceCount, ["-m", "raid1", "-d", name])
        let devices = try image.memoryDevices()
        let volume = try Volume(devices: devices)
        try volume.loadChunkLeaf()
        let chunk = try volume.chunk(.data)
        #expect(chunk.item.stripes.count == deviceCount)
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        let content = try fill(chunk, rows: UInt64(deviceCount), devices, &random)
        let start = chunk.item.logical
        for mirror in 1...chunk.mirrorCount {
            #expect(try volume.bytes(start, content.count, mirror: mirror) == content)
        }
        for a in devices.indices {
            for b in a..<devices.count {
                if name == "raid5" && a != b { continue }
                for index in [a, b] {
                    devices[index].onRead = { _, _ throws(FilesystemError) in
                        throw FilesystemError(.io, "device", "made to fail")
                    }
                }
                #expect(try volume.bytes(start, content.count) == content, "without \(a), \(b)")
                // Not aligned to anything, and across a row.
                #expect(
                    try volume.bytes(start + 65_001, 60_003)
                        == Array(content[65_001..<125_004])
                )
                for index in [a, b] { devices[index].onRead = nil }
            }
        }
        // One loss more than parity stands is an error, not wrong bytes.
        for index in 0..<(name == "raid5" ? 2 : 3) {
            devices[index].onRead = { _, _ throws(FilesystemError) in
                throw FilesystemError(.io, "device", "made to fail")
            }
        }
        #expect(failure { _ = try volume.bytes(start, content.count) }?.code == .io)
    }

    @Test func aSilentlyWrongStripeIsFoundByTryingEveryRaid6Mirror() throws {
        let image = try Image(deviceCount: 5, ["-m", "raid1", "-d", "raid6"])
        let devices = try image.memoryDevices()
        let volume = try Volume(devices: devices)
        try volume.loadChunkLeaf()
        let chunk = try volume.chunk(.data)
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        let content = try fill(chunk, rows: 1, devices, &random)
        // Two stripes of row 0 return wrong bytes without an error.
        for a in 0..<5 {
            for b in 0..<5 where b != a {
                for role in [a, b] {
                    let devid = Int(chunk.item.stripes[role].devid)
                    devices[devid - 1].onRead = { _, bytes throws(FilesystemError) in
                        for index in bytes.indices { bytes[index] ^= 0x5a }
                    }
                }
                for wanted in 0..<chunk.item.dataStripes {
                    let expected = Array(content[wanted * 65536..<wanted * 65536 + 4096])
                    let read = try volume.readBlock(
                        logical: chunk.item.logical + UInt64(wanted) * 65536,
                        length: 4096
                    ) { block throws(FilesystemError) in
                        for index in 0..<4096 where block.u8(at: index) != expected[index] {
                            throw FilesystemError(.corrupt, "block", "wrong bytes")
                        }
                    }
                    #expect(read == expected, "wrong \(a) and \(b), wanted \(wanted)")
                }
                for device in devices { device.onRead = nil }
            }
        }
    }

    @Test(
        .enabled(if: Machine.canMount, "needs root and loop devices"),
        arguments: ["raid0", "raid10", "raid5", "raid6"]
    )
    func everyMirrorReadsWhatTheKernelWrote(name: String) throws {
        let image = try Image(deviceCount: 4, ["-m", "raid1", "-d", name])
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        // Each sector says its number, so that it can be found again.
        var file: [UInt8] = []
        for sector in 0..<512 {
            file += withUnsafeBytes(of: UInt64(sector).littleEndian) { Array($0) }
            file += (0..<4088).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        try image.mounted { point in
            try Data(file).write(to: URL(fileURLWithPath: point + "/file"))
        }
        let volume = try Volume.open(paths: image.paths)
        try volume.loadChunkLeaf()
        let chunk = try volume.chunk(.data)
        let length = Int(min(chunk.item.length, 8 << 20))
        let content = try volume.bytes(chunk.item.logical, length, mirror: 1)
        let first = try #require(
            stride(from: 0, to: length, by: 4096).first {
                Array(content[$0..<$0 + 64]) == Array(file[0..<64])
            }
        )
        #expect(Array(content[first..<first + file.count]) == file)
        for mirror in 2..<chunk.mirrorCount + 1 {
            #expect(
                try volume.bytes(
                    chunk.item.logical + UInt64(first),
                    file.count,
                    mirror: mirror
                ) == file
            )
        }
    }
}
