//===-- ValueTests.swift - errors, keys, words, checksums -------------------------------------===//
// Covers what needs no image: rendering, order, the words of btrfs-progs, published checksums.

import BGDiskFormat
import Testing

@Suite struct ErrorTests {
    @Test func reportsNameKindPlaceAndValue() {
        let error = FilesystemError(
            .corrupt,
            "leaf",
            "length % not sector aligned",
            4095,
            root: 2,
            logical: 30_408_704,
            slot: 7
        )
        #expect(
            error.message
                == "corrupt leaf: root=2 block=30408704 slot=7, length 4095 not sector aligned"
        )
    }

    @Test func placesAreAddedButNeverReplaced() {
        let error = FilesystemError(.io, "device", "read failed", devid: 2, physical: 0)
            .located(deviceIndex: 1, devid: 9)
        #expect(error.message == "device: device=1 devid=2 physical=0, read failed")
    }

    @Test func everyCodeHasItsErrno() {
        let expected: [(FilesystemError.Code, CInt)] = [
            (.noSpace, 28), (.corrupt, 117), (.io, 5), (.readOnly, 30), (.invalidArgument, 22),
            (.unsupported, 95), (.missingDevice, 6), (.notFound, 2), (.noMemory, 12),
            (.busy, 16), (.exists, 17), (.system(13), 13),
        ]
        for (code, number) in expected {
            #expect(FilesystemError(code, "", "x").errno == number)
        }
    }

    @Test func unknownSystemErrorsKeepTheirNumber() {
        #expect(
            FilesystemError(.system(13), "device", "cannot be opened").message
                == "device: cannot be opened (errno 13)"
        )
    }

    @Test func aPercentSignWithoutAValueStays() {
        #expect(FilesystemError(.io, "", "% of %", 3).message == "3 of %")
    }
}

@Suite struct KeyTests {
    @Test func keysOrderByObjectThenTypeThenOffset() {
        let keys = [
            Key(1, .chunkItem, .max), Key(2, .extentItem, 0), Key(2, .extentItem, 1),
            Key(2, .metadataItem, 0), Key(.max, .inodeItem, 0),
        ]
        #expect(keys.shuffled().sorted() == keys)
    }

    @Test func theNextKeyCarries() {
        #expect(Key(1, .extentItem, 5).next == Key(1, .extentItem, 6))
        #expect(Key(1, .extentItem, .max).next == Key(1, .metadataItem, 0))
        #expect(Key(1, KeyType(rawValue: 255), .max).next == Key(2, KeyType(rawValue: 0), 0))
        #expect(Key.max.next == nil)
    }

    @Test func uuidTextIsTheUsualOne() {
        let bytes: [UInt8] = [
            0x57, 0xff, 0x7e, 0x8e, 0xbf, 0x9b, 0x4e, 0x88, 0xbd, 0x8c, 0x82, 0xf7, 0x08, 0xb1,
            0x13, 0x98,
        ]
        let uuid = bytes.span.bytes.uuid(at: 0)
        #expect(uuid.text == "57ff7e8e-bf9b-4e88-bd8c-82f708b11398")
    }
}

@Suite struct ChunkFlagsTests {
    @Test func wordsAreThoseOfBtrfsProgs() {
        #expect(ChunkFlags.data.words == "DATA|single")
        #expect((ChunkFlags.metadata | .dup).words == "METADATA|DUP")
        #expect((ChunkFlags.system | .raid1c3).words == "SYSTEM|RAID1C3")
        #expect((ChunkFlags.data | .metadata).words == "DATA|METADATA|single")
        #expect((ChunkFlags.data | .raid10).words == "DATA|RAID10")
    }

    @Test func impossibleFlagsAreRefused() {
        for raw: UInt64 in [0, 0x3, 0x7, 0x19, 1 << 11 | 1, 1 << 63 | 1, 0x8] {
            #expect(throws: FilesystemError.self) {
                try ChunkFlags(rawValue: raw).check("chunk")
            }
        }
        for raw: UInt64 in [1, 2, 4, 5, 0x9, 0x404] {
            #expect(throws: Never.self) { try ChunkFlags(rawValue: raw).check("chunk") }
        }
    }

    @Test func everyProfileIsFoundByItsFlags() {
        for profile in Profile.allCases {
            #expect((ChunkFlags.data | profile.flags).profile == profile)
        }
        #expect((ChunkFlags.raid0 | .raid1).profile == nil)
    }
}

@Suite struct ChecksumTests {
    private func hex(_ type: ChecksumType, _ text: String) -> String {
        let bytes = Array(text.utf8)
        let sum = type.checksum(of: bytes.span.bytes)
        var out: [UInt8] = []
        for index in 0..<type.byteCount { out.appendHex(UInt64(sum.bytes[index]), width: 2) }
        for index in type.byteCount..<32 { #expect(sum.bytes[index] == 0) }
        return String(decoding: out, as: UTF8.self)
    }

    private func verifies(_ type: ChecksumType, _ block: [UInt8]) -> Bool {
        type.verify(block: block.span.bytes)
    }

    @Test func publishedVectorsComeOut() {
        #expect(hex(.crc32c, "123456789") == "839206e3")
        #expect(hex(.crc32c, "") == "00000000")
        #expect(hex(.xxhash64, "") == "99e9d85137db46ef")
        #expect(
            hex(.sha256, "abc")
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        #expect(
            hex(.blake2b, "abc")
                == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
        )
    }

    @Test(arguments: ChecksumType.allCases) func aSealedBlockVerifiesUntilAByteChanges(
        type: ChecksumType
    ) {
        var block = [UInt8](repeating: 0, count: 4096)
        for index in block.indices { block[index] = UInt8(truncatingIfNeeded: index &* 7) }
        var span = block.mutableSpan
        var raw = span.mutableBytes
        type.seal(block: &raw)
        #expect(verifies(type, block))
        for index in [0, 32, 100, 4095] {
            block[index] ^= 1
            #expect(!verifies(type, block))
            block[index] ^= 1
        }
    }

    @Test func aBlockWithoutRoomForAChecksumNeverVerifies() {
        let block = [UInt8](repeating: 0, count: 32)
        #expect(!verifies(.crc32c, block))
    }
}
