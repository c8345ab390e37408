//===-- FormatDevices.swift - the devices of a new file system ------------------------------------===//
// Opens what the caller named, for this process alone, and finds every reason not to format it before
// anything is written.
//
// Invariants:
//   1. Nothing is made, made longer or written before `prepare`, which is called when all devices
//      have passed every check.
//   2. A file that was made here goes again when formatting fails.

import BGDevices
import BGDiskFormat

/// The files and devices that a file system is to be made on.
struct FormatDevices {
    private let paths: [[CChar]]
    private let options: FormatOptions
    /// nil where there is no file yet.
    private var devices: [FileDevice?] = []
    private var made: [Int] = []

    /// What the file system is made on, in the order of the paths; after `prepare`.
    var storages: [any BlockDevice] { devices.compactMap { $0 } }

    /// Opens what is there.
    ///
    /// - Throws: `.busy`, `.invalidArgument` for a device named twice, what opening throws.
    init(_ paths: [String], _ options: FormatOptions) throws(FilesystemError) {
        self.options = options
        self.paths = paths.map { path in
            var characters: [CChar] = []
            for byte in path.utf8 { characters.append(CChar(bitPattern: byte)) }
            characters.append(0)
            return characters
        }
        for index in self.paths.indices {
            do throws(FilesystemError) {
                devices.append(try open(index))
            } catch {
                throw error.located(deviceIndex: index)
            }
        }
    }

    private func open(_ index: Int) throws(FilesystemError) -> FileDevice? {
        do throws(FilesystemError) {
            return try unsafe withPath(index) { path throws(FilesystemError) in
                try unsafe FileDevice(path: path, writable: true)
            }
        } catch {
            if error.code == .notFound, options.deviceBytes != nil {
                for other in 0..<index where paths[other] == paths[index] {
                    throw FormatDevices.sameDevice(other)
                }
                return nil
            }
            guard error.code == .busy else { throw error }
            // Perhaps it is we who have it.
            let reader = try unsafe withPath(index) { path throws(FilesystemError) in
                try unsafe FileDevice(path: path, writable: false)
            }
            for (other, device) in devices.enumerated() {
                guard let device, device.isSame(as: reader) else { continue }
                throw FormatDevices.sameDevice(other)
            }
            throw error
        }
    }

    private static func sameDevice(_ other: Int) -> FilesystemError {
        FilesystemError(
            .invalidArgument,
            "device",
            "is the same device as device %",
            UInt64(other)
        )
    }

    /// Refuses devices that are too small, or too large together, or hold something.
    ///
    /// - Returns: bytes of each device that the file system will have.
    /// - Throws: `.noSpace`, `.exists`, `.invalidArgument`, `.io`.
    func check(_ choice: FormatChoice) throws(FilesystemError) -> [UInt64] {
        var sizes: [UInt64] = []
        for (index, device) in devices.enumerated() {
            do throws(FilesystemError) {
                sizes.append(try size(of: device, choice))
                if let device, !options.overwrites { try FormatDevices.checkContent(device) }
            } catch {
                throw error.located(deviceIndex: index)
            }
        }
        var total: UInt64 = 0
        for size in sizes {
            guard let sum = total.end(adding: size) else {
                throw FilesystemError(.invalidArgument, "format", "devices are too large together")
            }
            total = sum
        }
        return sizes
    }

    private func size(
        of device: FileDevice?,
        _ choice: FormatChoice
    ) throws(FilesystemError) -> UInt64 {
        let wanted = options.deviceBytes ?? device?.byteCount ?? 0
        let size = wanted - wanted % UInt64(FormatChoice.sectorSize)
        if let device, device.isBlockDevice, size > device.byteCount {
            throw FilesystemError(
                .noSpace,
                "device",
                "of % bytes, % asked for",
                device.byteCount,
                wanted
            )
        }
        let least = FirstChunks.deviceBytesMin(choice)
        guard size >= least else {
            throw FilesystemError(
                .noSpace,
                "device",
                "of % bytes is too small: such a file system needs % on each device",
                size,
                least
            )
        }
        return size
    }

    private static func checkContent(_ device: FileDevice) throws(FilesystemError) {
        guard let content = try knownContent(of: device) else { return }
        throw FilesystemError(.exists, "device", content)
    }

    /// Makes files that are missing, makes files longer that are too short, and wipes the rest.
    mutating func prepare(_ sizes: [UInt64]) throws(FilesystemError) {
        for index in devices.indices {
            do throws(FilesystemError) {
                guard let device = devices[index] else {
                    devices[index] = try unsafe withPath(index) { path throws(FilesystemError) in
                        try unsafe FileDevice(creating: path, byteCount: sizes[index])
                    }
                    made.append(index)
                    continue
                }
                if device.byteCount < sizes[index] { try device.resize(to: sizes[index]) }
                try wipe(device)
            } catch {
                throw error.located(deviceIndex: index)
            }
        }
    }

    /// Removes the files that `prepare` made.
    func undo() {
        for index in made {
            unsafe paths[index].withUnsafeBufferPointer { path in
                unsafe FileDevice.remove(path: path.baseAddress!)
            }
        }
    }

    private func withPath<Result>(
        _ index: Int,
        _ body: (UnsafePointer<CChar>) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try unsafe paths[index].withUnsafeBufferPointer { path throws(FilesystemError) in
            try unsafe body(path.baseAddress!)
        }
    }
}
