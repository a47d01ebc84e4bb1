//! GPUs: through NVML, else through one `nvidia-smi` that keeps running. Where
//! neither is there, there is nothing to see.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};

use super::{Reading, Tape, pause};
use crate::bench::clock::now_ns;

/// One look at one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuReading {
    /// Its index, as NVML has it.
    pub index: u32,
    /// Time in which kernels ran, as a share.
    pub utilization: Option<f64>,
    /// Memory in use, bytes.
    pub memory_bytes: Option<u64>,
    /// Power, watts.
    pub power_w: Option<f64>,
    /// Temperature, degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Reasons for which clocks are lowered, as NVML's bits.
    pub throttle_reasons: Option<u64>,
}

impl GpuReading {
    /// Whether heat, power or the board slowed it down.
    pub fn is_throttled(&self) -> Option<bool> {
        let slowed = ThrottleReasons::SW_POWER_CAP
            | ThrottleReasons::HW_SLOWDOWN
            | ThrottleReasons::SW_THERMAL_SLOWDOWN
            | ThrottleReasons::HW_THERMAL_SLOWDOWN
            | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
        Some(self.throttle_reasons? & slowed.bits() != 0)
    }
}

/// What looks at the GPUs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Gpus {
    smi: Option<Child>,
}

impl Gpus {
    /// Begins to look at the GPUs of these indices, or all; `None` without any.
    pub(super) fn watch(
        only: Option<Vec<u32>>,
        each: Duration,
        tape: Tape,
        stop: Arc<AtomicBool>,
    ) -> Option<Self> {
        let wanted = move |index: u32| only.as_ref().is_none_or(|only| only.contains(&index));
        if let Ok(nvml) = Nvml::init()
            && nvml.device_count().is_ok_and(|count| count > 0)
        {
            return spawn(move || {
                loop {
                    let at = now_ns();
                    tape.put(at, through_nvml(&nvml, &wanted).into_iter().map(Reading::Gpu));
                    if !pause(each, &stop) {
                        break;
                    }
                }
            })
            .then_some(Self { smi: None });
        }
        let mut smi = Command::new("nvidia-smi")
            .arg(format!("--query-gpu={QUERY}"))
            .args(["--format=csv,noheader,nounits", "-lms", &each.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(smi.stdout.take()?).lines();
        let reads = spawn(move || {
            for line in lines.map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let reading = line_of_smi(&line).filter(|reading| wanted(reading.index));
                tape.put(now_ns(), reading.map(Reading::Gpu));
            }
        });
        // Dropped, it ends the process either way.
        let gpus = Self { smi: Some(smi) };
        reads.then_some(gpus)
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        if let Some(smi) = &mut self.smi {
            // It may have ended by itself.
            let _ = smi.kill();
            let _ = smi.wait();
        }
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new().name("telemetry gpu".to_owned()).spawn(body).is_ok()
}

fn through_nvml(nvml: &Nvml, wanted: &impl Fn(u32) -> bool) -> Vec<GpuReading> {
    let count = nvml.device_count().unwrap_or(0);
    let mut readings = Vec::new();
    for index in (0..count).filter(|index| wanted(*index)) {
        let Ok(device) = nvml.device_by_index(index) else { continue };
        let clock = |clock| device.clock_info(clock).ok().map(f64::from);
        readings.push(GpuReading {
            index,
            utilization: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
            memory_bytes: device.memory_info().ok().map(|memory| memory.used),
            power_w: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            sm_clock_mhz: clock(Clock::SM),
            memory_clock_mhz: clock(Clock::Memory),
            throttle_reasons: device.current_throttle_reasons().ok().map(|reasons| reasons.bits()),
        });
    }
    readings
}

const QUERY: &str = "index,utilization.gpu,memory.used,power.draw,temperature.gpu,\
                     clocks.sm,clocks.mem,clocks_throttle_reasons.active";

/// A line of `nvidia-smi`, in the order of [`QUERY`]; what it does not tell stands
/// in brackets there.
fn line_of_smi(line: &str) -> Option<GpuReading> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let reasons = fields.get(7).and_then(|text| text.strip_prefix("0x"));
    Some(GpuReading {
        index: fields.first()?.parse().ok()?,
        utilization: number(1).map(|percent| percent / 100.0),
        memory_bytes: number(2).map(|mebibytes| (mebibytes * f64::from(1 << 20)) as u64),
        power_w: number(3),
        temperature_c: number(4),
        sm_clock_mhz: number(5),
        memory_clock_mhz: number(6),
        throttle_reasons: reasons.and_then(|digits| u64::from_str_radix(digits, 16).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nvidia_smi() {
        let reading = line_of_smi("1, 34, 20480, 312.55, 71, 2520, 10501, 0x0000000000000004");
        let reading = reading.expect("a GPU");
        assert_eq!((reading.index, reading.utilization), (1, Some(0.34)));
        assert_eq!((reading.memory_bytes, reading.power_w), (Some(20 << 30), Some(312.55)));
        assert_eq!((reading.temperature_c, reading.sm_clock_mhz), (Some(71.0), Some(2520.0)));
        assert_eq!(reading.is_throttled(), Some(true), "the software power cap");
        let idle = line_of_smi("0, [N/A], 11, [Not Supported], 35, 210, 405, 0x0000000000000001");
        let idle = idle.expect("a GPU");
        assert_eq!((idle.utilization, idle.power_w), (None, None));
        assert_eq!(idle.is_throttled(), Some(false), "idle is not slowed down");
        assert_eq!(line_of_smi("0, 1, 2, 3, 4, 5, 6, [N/A]").expect("a GPU").is_throttled(), None);
        assert_eq!(line_of_smi("Failed to initialize NVML"), None);
    }
}
