//===-- Output.swift - standard output and standard error -----------------------------------------===//
// Text is gathered and written in large pieces. A reader that left early (`bgctl … | head`) is no
// error worth a word; a full disk is.

import Glibc

/// Standard output, buffered. Whoever makes one flushes it.
struct Output: ~Copyable {
    private static let bufferBytes = 1 << 16
    private var buffer: [UInt8] = []
    private var failure: CInt = 0
    private let descriptor: CInt

    init(descriptor: CInt = STDOUT_FILENO) {
        self.descriptor = descriptor
        buffer.reserveCapacity(Output.bufferBytes + 4096)
    }

    mutating func write(_ text: String) {
        buffer.append(contentsOf: text.utf8)
        if buffer.count >= Output.bufferBytes { writeOut() }
    }

    mutating func line(_ text: String = "") {
        write(text)
        write("\n")
    }

    /// A name and what there is to say of it, which begins in column `columns`.
    mutating func fact(_ name: String, _ text: String, columns: Int, _ style: Style) {
        let blanks = String(repeating: " ", count: max(1, columns - name.count))
        line(style.bold(name) + blanks + text)
    }

    /// Writes what is left.
    ///
    /// Throws `BrokenPipe`, or `Failure` for any other error since the beginning.
    mutating func flush() throws {
        writeOut()
        if failure == EPIPE { throw BrokenPipe() }
        if failure != 0 { throw Failure("cannot write the output: \(errorText(failure))") }
    }

    private mutating func writeOut() {
        if failure == 0 { failure = writeAll(buffer, to: descriptor) }
        buffer.removeAll(keepingCapacity: true)
    }
}

/// Writes all bytes; returns 0 or a positive errno.
func writeAll(_ bytes: [UInt8], to descriptor: CInt) -> CInt {
    var start = 0
    while start < bytes.count {
        let written = unsafe bytes.withUnsafeBytes { buffer in
            unsafe Glibc.write(descriptor, buffer.baseAddress! + start, buffer.count - start)
        }
        if written < 0 {
            if errno == EINTR { continue }
            return errno
        }
        start += written
    }
    return 0
}

/// Writes a whole file, replacing one that is there.
func writeFile(_ text: String, path: String) throws {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw Failure("\(path): \(errorText(errno))") }
    let failure = writeAll([UInt8](text.utf8), to: descriptor)
    let closed = close(descriptor)
    if failure != 0 { throw Failure("\(path): \(errorText(failure))") }
    if closed != 0 { throw Failure("\(path): \(errorText(errno))") }
}

/// One line on standard error.
func say(_ text: String) {
    _ = writeAll([UInt8]((text + "\n").utf8), to: STDERR_FILENO)
}

/// An errno in the system's words.
func errorText(_ number: CInt) -> String {
    guard let text = unsafe strerror(number) else { return "error \(number)" }
    return unsafe String(cString: text)
}

func quit(_ status: CInt) -> Never {
    exit(status)
}
