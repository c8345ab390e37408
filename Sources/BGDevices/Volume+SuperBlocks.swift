//===-- Volume+SuperBlocks.swift - the moment at which a commit happens ---------------------------===//
// Writes the copies of the super block on every device.
//
// Invariants:
//   1. No super block is written before everything it refers to is durable.
//   2. No further copy is written before the primaries are durable: at any moment there is a whole
//      set of copies, of this commit or of the one before.

package import BGDiskFormat

extension Volume {
    /// Makes everything written before durable, then `superBlock`: the primaries of all devices,
    /// and when they are durable, the other copies.
    ///
    /// - Parameter items: of every device of the volume; each copy holds its own device's.
    ///
    /// Throws `.invalidArgument` where a device has no item, the first failure of a device
    /// otherwise. After a failure any of the copies may be there.
    package func writeSuperBlocks(
        _ superBlock: SuperBlock,
        devices items: [DeviceItem]
    ) throws(FilesystemError) {
        for device in devices { _ = try item(of: device, items) }
        try flush()
        try writeCopies(superBlock, items, 0..<1)
        try flush()
        try writeCopies(superBlock, items, 1..<SuperBlock.copyCount)
        try flush()
    }

    private func writeCopies(
        _ superBlock: SuperBlock,
        _ items: [DeviceItem],
        _ copies: Range<Int>
    ) throws(FilesystemError) {
        for device in devices {
            let item = try item(of: device, items)
            for copy in copies {
                let physical = SuperBlock.physical(ofCopy: copy)
                guard physical + UInt64(SuperBlock.byteCount) <= item.totalBytes else { break }
                let bytes = superBlock.encoded(forCopy: copy, device: item)
                try unsafe bytes.span.bytes.withUnsafeBytes { buffer throws(FilesystemError) in
                    try unsafe device.write(physical: physical, from: buffer)
                }
            }
        }
    }

    private func item(
        of device: Device,
        _ items: [DeviceItem]
    ) throws(FilesystemError) -> DeviceItem {
        for item in items where item.devid == device.devid { return item }
        throw FilesystemError(
            .invalidArgument,
            "super block",
            "no device item for one of the devices",
            devid: device.devid
        )
    }
}
