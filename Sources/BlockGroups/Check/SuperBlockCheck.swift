//===-- SuperBlockCheck.swift - every copy of the super block on every device -------------------===//
// A valid copy of an older generation is a remark: a commit that was cut off leaves one, and the
// newest counts. Copies of the newest generation must agree in all that is not their own.
//
// Not here: what the trees say of the super block's sums (ChunkCheck, BlockGroupCheck).
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat

/// Bytes of a super block that differ between copies: own sum and address, the log tree (whose
/// commits write the first copy alone), and the device's own item.
private let ownRanges: [Range<Int>] = [0..<32, 48..<56, 96..<112, 200..<201, 201..<299]

extension Checker {
    func checkSuperBlocks() {
        var reference: [UInt8]?
        for device in volume.devices where device.superBlock.generation == superBlock.generation {
            if reference != nil { break }
            reference = try? superBytes(device, physical: device.superBlock.physical)
        }
        for device in volume.devices {
            for copy in 0..<SuperBlock.copyCount {
                let physical = SuperBlock.physical(ofCopy: copy)
                let end = physical + UInt64(SuperBlock.byteCount)
                guard end <= device.superBlock.device.totalBytes else { break }
                checkCopy(device, physical: physical, reference ?? [])
            }
        }
        if superBlock.logRoot != 0 {
            report(
                CheckFault(
                    .superBlock,
                    "there is a log tree, which was not looked at",
                    logical: superBlock.logRoot,
                    isRemark: true
                )
            )
        }
        checkFields()
    }

    private func superBytes(
        _ device: Device,
        physical: UInt64
    ) throws(FilesystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: SuperBlock.byteCount)
        try readWhole(&bytes, from: device.storage, physical: physical)
        return bytes
    }

    private func checkCopy(_ device: Device, physical: UInt64, _ reference: [UInt8]) {
        do throws(FilesystemError) {
            let bytes = try superBytes(device, physical: physical)
            let copy = try unsafe SuperBlock(bytes.span.bytes, physical: physical)
            guard copy.fsid == superBlock.fsid else {
                throw FilesystemError(.corrupt, "super block", "belongs to another file system")
            }
            guard copy.generation == superBlock.generation else {
                report(
                    CheckFault(
                        .superBlock,
                        "copy of generation %, the newest has %",
                        copy.generation,
                        superBlock.generation,
                        devid: device.devid,
                        physical: physical,
                        isRemark: true
                    )
                )
                return
            }
            if let offset = firstDifference(bytes, reference) {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    "differs from the other copies at byte %",
                    UInt64(offset)
                )
            }
            guard copy.device == device.superBlock.device else {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    "device item differs from the other copies"
                )
            }
        } catch {
            report(.superBlock, error.located(devid: device.devid, physical: physical))
        }
    }

    private func firstDifference(_ a: [UInt8], _ b: [UInt8]) -> Int? {
        guard a.count == b.count else { return nil }
        for offset in 0..<a.count where a[offset] != b[offset] {
            if !ownRanges.contains(where: { $0.contains(offset) }) { return offset }
        }
        return nil
    }

    /// Fields that opening does not insist on.
    private func checkFields() {
        func expect(_ isRight: Bool, _ what: StaticString, _ value: UInt64) {
            if !isRight { report(CheckFault(.superBlock, what, value)) }
        }
        expect(
            superBlock.rootDirectory == ObjectID.rootTreeDirectory,
            "root directory %, expected 6",
            superBlock.rootDirectory
        )
        expect(
            superBlock.incompat.contains(.mixedBackref),
            "incompat flags % without mixed back references",
            superBlock.incompat.rawValue
        )
        expect(
            superBlock.stripeSize == superBlock.sectorSize || superBlock.stripeSize == 4096,
            "stripe size %",
            UInt64(superBlock.stripeSize)
        )
        expect(
            !superBlock.compatReadOnly.contains(.freeSpaceTreeValid)
                || superBlock.compatReadOnly.contains(.freeSpaceTree),
            "free-space tree is valid but not there, compat_ro flags %",
            superBlock.compatReadOnly.rawValue
        )
        expect(
            superBlock.root != 0 && superBlock.chunkRoot != 0,
            "no root tree or no chunk tree, generation %",
            superBlock.generation
        )
    }
}
