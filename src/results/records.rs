//! Request records as Parquet: one file per repeat, one row per request, chunk
//! times and sizes as lists. Written whole before the journal names them.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use polars::prelude::{
    Column, DataFrame, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder, ParquetReader,
    PlSmallStr, PolarsNumericType, SerReader, UInt32Type, UInt64Type,
};
use polars::prelude::{DataType, PolarsResult};

use super::ResultsError;
use super::columns::column;
use super::file::write_parquet;
use super::telemetry;
use crate::client::record::{Chunk, RequestError, RequestErrorClass, RequestRecord, Usage};
use crate::history::folder::{can_write, create_private, file_word};
use crate::secret::Secrets;
use crate::telemetry::Sample;
use crate::telemetry::sink::{RecordSink, RepeatKey};

/// Keeps request records below a sweep's folder or in one launch's.
#[derive(Clone, Debug)]
pub struct ParquetRecords {
    place: Place,
    secrets: Secrets,
}

#[derive(Clone, Debug)]
enum Place {
    /// `launches/<n>-*` below it is the launch's folder.
    Sweep(PathBuf),
    /// The launch's folder itself.
    Launch(PathBuf),
}

impl ParquetRecords {
    /// For a whole sweep: a launch's folder is found by its number,
    /// `<sweep>/launches/<n>-<configuration>`, and must be there already.
    pub fn in_sweep(sweep: impl Into<PathBuf>) -> Self {
        Self { place: Place::Sweep(sweep.into()), secrets: Secrets::default() }
    }

    /// For one launch, whose folder it is.
    pub fn in_launch(launch: impl Into<PathBuf>) -> Self {
        Self { place: Place::Launch(launch.into()), secrets: Secrets::default() }
    }

    /// The same; error messages are written without these secrets.
    #[must_use]
    pub fn without(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// The folder of a launch.
    fn launch(&self, number: u32) -> io::Result<PathBuf> {
        match &self.place {
            Place::Launch(folder) => Ok(folder.clone()),
            Place::Sweep(sweep) => launch_folder(sweep, number),
        }
    }
}

fn launch_folder(sweep: &Path, launch: u32) -> io::Result<PathBuf> {
    let prefix = format!("{launch}-");
    let launches = sweep.join("launches");
    for entry in std::fs::read_dir(&launches)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            return Ok(entry.path());
        }
    }
    let message = format!("no folder of launch {launch} in {}", launches.display());
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

impl RecordSink for ParquetRecords {
    fn store(&self, key: &RepeatKey, records: &[RequestRecord]) -> io::Result<()> {
        let folder = self.launch(key.launch)?.join("records");
        // The launch's own folder is there, or the run is gone: it is not made again.
        match create_private(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
        let records = without(records, &self.secrets);
        write(&folder.join(file_name(key)), key, &records).map_err(io_error)
    }

    fn store_telemetry(&self, launch: u32, samples: &[Sample]) -> io::Result<()> {
        let path = self.launch(launch)?.join("telemetry.parquet");
        telemetry::write(&path, samples).map_err(io_error)
    }
}

/// The records, secrets in their error messages masked.
pub fn without<'a>(records: &'a [RequestRecord], secrets: &Secrets) -> Cow<'a, [RequestRecord]> {
    let mut records = Cow::Borrowed(records);
    for at in 0..records.len() {
        let message = records[at].error.as_ref().map(|error| secrets.mask(&error.message));
        if let Some(Cow::Owned(masked)) = message
            && let Some(error) = &mut records.to_mut()[at].error
        {
            error.message = masked;
        }
    }
    records
}

fn io_error(error: ResultsError) -> io::Error {
    match error {
        ResultsError::File { error, .. } => error,
        other => io::Error::other(other),
    }
}

/// `<workload>[-case]-<repeat>.parquet`. What is not allowed in a file name is
/// written as `%` and its hexadecimal code, so that two cases never meet.
pub fn file_name(key: &RepeatKey) -> String {
    // A point or a plus sign is written as any other sign here, as it always was.
    let safe = |text: &str| file_word(text).replace('.', "%2E").replace('+', "%2B");
    let case = if key.case.is_empty() { String::new() } else { format!("-{}", safe(&key.case)) };
    format!("{}{case}-{}.parquet", safe(&key.workload), key.repeat)
}

/// Writes the records of a repeat as one Parquet file, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, key: &RepeatKey, records: &[RequestRecord]) -> Result<(), ResultsError> {
    let mut frame = DataFrame::new(records.len(), columns(key, records))?;
    write_parquet(path, &mut frame)
}

/// Finds out whether a file of records can be written there; what is there stays.
///
/// # Errors
/// When it cannot.
pub fn check_place(path: &Path) -> Result<(), ResultsError> {
    can_write(path).map_err(|error| ResultsError::File { path: path.to_owned(), error })
}

/// Writes the records of several repeats as one Parquet file, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_all(
    path: &Path,
    repeats: &[(RepeatKey, Vec<RequestRecord>)],
) -> Result<(), ResultsError> {
    let nothing = RepeatKey { launch: 0, workload: String::new(), case: String::new(), repeat: 0 };
    let mut frame = DataFrame::new(0, columns(&nothing, &[]))?;
    for (key, records) in repeats {
        frame.vstack_mut(&DataFrame::new(records.len(), columns(key, records))?)?;
    }
    write_parquet(path, &mut frame)
}

fn columns(key: &RepeatKey, records: &[RequestRecord]) -> Vec<Column> {
    let key_text = |text: &str| vec![Some(text.to_owned()); records.len()];
    let times = |name: &str, read: &dyn Fn(&RequestRecord) -> Option<u64>| {
        column(name, records.iter().map(read).collect())
    };
    let counts = |name: &str, read: &dyn Fn(&Usage) -> Option<u64>| {
        column(name, records.iter().map(|r| r.usage.as_ref().and_then(read)).collect())
    };
    let texts = |name: &str, read: &dyn Fn(&RequestRecord) -> Option<String>| {
        column(name, records.iter().map(read).collect())
    };
    vec![
        column("launch", vec![Some(key.launch); records.len()]),
        column("workload", key_text(&key.workload)),
        column("case", key_text(&key.case)),
        column("repeat", vec![Some(key.repeat); records.len()]),
        column("index", records.iter().map(|r| Some(r.index)).collect()),
        texts("purpose", &|r| Some(r.purpose.clone())),
        times("scheduled_ns", &|r| Some(r.scheduled_ns)),
        times("sent_ns", &|r| Some(r.sent_ns)),
        times("request_bytes", &|r| Some(r.request_bytes)),
        times("headers_ns", &|r| r.headers_ns),
        times("first_byte_ns", &|r| r.first_byte_ns),
        times("first_token_ns", &|r| r.first_token_ns),
        times("first_answer_ns", &|r| r.first_answer_ns),
        times("last_token_ns", &|r| r.last_token_ns),
        times("end_ns", &|r| r.end_ns),
        texts("response_id", &|r| r.response_id.clone()),
        list::<UInt64Type>("chunk_at_ns", records, DataType::UInt64, |chunk| chunk.at_ns),
        list::<UInt32Type>("chunk_bytes", records, DataType::UInt32, |chunk| chunk.bytes),
        times("output_characters", &|r| r.output_characters),
        counts("prompt_tokens", &|usage| Some(usage.prompt_tokens)),
        counts("completion_tokens", &|usage| Some(usage.completion_tokens)),
        counts("reasoning_tokens", &|usage| usage.reasoning_tokens),
        counts("cached_tokens", &|usage| usage.cached_tokens),
        texts("finish_reason", &|r| r.finish_reason.clone()),
        column("http_status", records.iter().map(|r| r.http_status.map(u32::from)).collect()),
        texts("error_class", &|r| r.error.as_ref().and_then(|error| class_word(error.class))),
        texts("error_message", &|r| r.error.as_ref().map(|error| error.message.clone())),
    ]
}

fn list<T: PolarsNumericType>(
    name: &str,
    records: &[RequestRecord],
    data_type: DataType,
    read: impl Fn(&Chunk) -> T::Native,
) -> Column {
    let chunks = records.iter().map(|record| record.chunks.len()).sum();
    let name = PlSmallStr::from_str(name);
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name, records.len(), chunks, data_type);
    for record in records {
        builder.append_values_iter(record.chunks.iter().map(&read));
    }
    builder.finish().into_series().into()
}

/// The word that serde writes for a class.
fn class_word(class: RequestErrorClass) -> Option<String> {
    match serde_json::to_value(class) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// Reads the records of a repeat back.
///
/// # Errors
/// When the file cannot be read or is not one of ours.
pub fn read(path: &Path) -> Result<Vec<RequestRecord>, ResultsError> {
    let file = crate::input::open(path, u64::MAX)
        .map_err(|error| ResultsError::File { path: path.to_owned(), error: error.into() })?;
    let content = |problem: String| ResultsError::Content { path: path.to_owned(), problem };
    let frame = ParquetReader::new(file).finish().map_err(|error| content(error.to_string()))?;
    let table = Table { frame: &frame };
    (0..frame.height()).map(|row| table.record(row).map_err(|e| content(e.to_string()))).collect()
}

struct Table<'a> {
    frame: &'a DataFrame,
}

impl Table<'_> {
    fn record(&self, row: usize) -> PolarsResult<RequestRecord> {
        let usage = match (self.count("prompt_tokens", row)?, self.count("completion_tokens", row)?)
        {
            (Some(prompt_tokens), Some(completion_tokens)) => Some(Usage {
                prompt_tokens,
                completion_tokens,
                reasoning_tokens: self.count("reasoning_tokens", row)?,
                cached_tokens: self.count("cached_tokens", row)?,
            }),
            _ => None,
        };
        let class = self.text("error_class", row)?.and_then(|word| {
            serde_json::from_value::<RequestErrorClass>(serde_json::Value::String(word)).ok()
        });
        let message = self.text("error_message", row)?;
        Ok(RequestRecord {
            index: self.small("index", row)?.unwrap_or_default(),
            purpose: self.text("purpose", row)?.unwrap_or_default(),
            scheduled_ns: self.count("scheduled_ns", row)?.unwrap_or_default(),
            sent_ns: self.count("sent_ns", row)?.unwrap_or_default(),
            request_bytes: self.count("request_bytes", row)?.unwrap_or_default(),
            headers_ns: self.count("headers_ns", row)?,
            first_byte_ns: self.count("first_byte_ns", row)?,
            first_token_ns: self.count("first_token_ns", row)?,
            first_answer_ns: self.count("first_answer_ns", row)?,
            last_token_ns: self.count("last_token_ns", row)?,
            end_ns: self.count("end_ns", row)?,
            response_id: self.text("response_id", row)?,
            chunks: self.chunks(row)?,
            // Older files have no such column.
            output_characters: self.count("output_characters", row).unwrap_or_default(),
            usage,
            finish_reason: self.text("finish_reason", row)?,
            http_status: self.small("http_status", row)?.and_then(|s| u16::try_from(s).ok()),
            error: class.zip(message).map(|(class, message)| RequestError { class, message }),
            is_excused: false,
        })
    }

    fn count(&self, name: &str, row: usize) -> PolarsResult<Option<u64>> {
        Ok(self.frame.column(name)?.u64()?.get(row))
    }

    fn small(&self, name: &str, row: usize) -> PolarsResult<Option<u32>> {
        Ok(self.frame.column(name)?.u32()?.get(row))
    }

    fn text(&self, name: &str, row: usize) -> PolarsResult<Option<String>> {
        Ok(self.frame.column(name)?.str()?.get(row).map(str::to_owned))
    }

    fn chunks(&self, row: usize) -> PolarsResult<Vec<Chunk>> {
        let times = self.frame.column("chunk_at_ns")?.list()?.get_as_series(row);
        let sizes = self.frame.column("chunk_bytes")?.list()?.get_as_series(row);
        let (Some(times), Some(sizes)) = (times, sizes) else { return Ok(Vec::new()) };
        let (times, sizes) = (times.u64()?, sizes.u32()?);
        let pairs = times.iter().zip(sizes.iter());
        Ok(pairs
            .filter_map(|(at_ns, bytes)| Some(Chunk { at_ns: at_ns?, bytes: bytes? }))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(case: &str, repeat: u32) -> RepeatKey {
        RepeatKey { launch: 3, workload: "kv-cache".to_owned(), case: case.to_owned(), repeat }
    }

    fn complete() -> RequestRecord {
        RequestRecord {
            index: 7,
            purpose: "resent".to_owned(),
            scheduled_ns: 10,
            sent_ns: 12,
            request_bytes: 20_000,
            headers_ns: Some(20),
            first_byte_ns: Some(21),
            first_token_ns: Some(30),
            first_answer_ns: Some(31),
            last_token_ns: Some(90),
            end_ns: Some(u64::MAX),
            response_id: Some("chatcmpl-1".to_owned()),
            chunks: vec![Chunk { at_ns: 30, bytes: 4 }, Chunk { at_ns: 90, bytes: u32::MAX }],
            output_characters: Some(61),
            usage: Some(Usage {
                prompt_tokens: 4096,
                completion_tokens: 16,
                reasoning_tokens: None,
                cached_tokens: Some(4080),
            }),
            finish_reason: Some("length".to_owned()),
            http_status: Some(200),
            error: None,
            is_excused: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_absent_stays_absent() {
        let sweep = tempfile::tempdir().unwrap();
        let launch = sweep.path().join("launches/3-util0.85-prefix");
        std::fs::create_dir_all(&launch).unwrap();
        std::fs::create_dir_all(sweep.path().join("launches/30-other")).unwrap();
        let failed = RequestRecord {
            error: Some(RequestError {
                class: RequestErrorClass::InStream,
                message: "EngineCore died — \u{1F4A5}".to_owned(),
            }),
            ..RequestRecord::default()
        };
        let records = vec![complete(), failed];
        let sink = ParquetRecords::in_sweep(sweep.path());
        sink.store(&key("", 2), &records).unwrap();
        let path = launch.join("records/kv-cache-2.parquet");
        assert_eq!(read(&path).unwrap(), records);
        // No temporary file stays, and an empty repeat is a file with no rows.
        assert_eq!(std::fs::read_dir(launch.join("records")).unwrap().count(), 1);
        ParquetRecords::in_launch(&launch).store(&key("", 0), &[]).unwrap();
        assert_eq!(read(&launch.join("records/kv-cache-0.parquet")).unwrap(), []);
    }

    #[test]
    fn a_file_of_an_older_version_has_no_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.parquet");
        let mut frame = DataFrame::new(1, columns(&key("", 1), &[complete()])).unwrap();
        frame = frame.drop("output_characters").unwrap();
        write_parquet(&path, &mut frame).unwrap();
        let expected = RequestRecord { output_characters: None, ..complete() };
        assert_eq!(read(&path).unwrap(), [expected]);
    }

    #[test]
    fn a_launch_without_a_folder_is_an_error() {
        let sweep = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(sweep.path().join("launches/30-other")).unwrap();
        let error = ParquetRecords::in_sweep(sweep.path()).store(&key("", 1), &[]).unwrap_err();
        assert!(error.to_string().contains("launch 3"), "{error}");
    }

    #[test]
    fn a_case_cannot_leave_its_folder_or_meet_another() {
        assert_eq!(file_name(&key("prefix=4096", 1)), "kv-cache-prefix=4096-1.parquet");
        assert_eq!(file_name(&key("../x", 1)), "kv-cache-%2E%2E%2Fx-1.parquet");
        assert_ne!(file_name(&key("a/b", 1)), file_name(&key("a%2Fb", 1)));
    }

    #[test]
    fn the_error_of_a_foreign_file_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("x.parquet"));
    }
}
