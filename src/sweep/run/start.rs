//! How a launch begins: what it lacks, its bar, its entry in the journal, and its order. What
//! it is then is [`super::super::launch`]'s; which one is next is decided in `next`.

use super::super::context::SweepContext;
use super::super::early::EarlyStop;
use super::super::launch::TrialOrder;
use super::super::running::Running;
use super::super::trial::Trial;
use super::super::{SweepError, gates, pass};
use super::{Sweep, stopped};
use crate::engine::LaunchOrder;
use crate::gate::GateOrder;
use crate::history::behind;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::history::replay;
use crate::strategy::{Bar, Purpose};

impl Sweep {
    pub(super) async fn start(
        &mut self,
        context: &SweepContext,
        running: &mut Running,
        trial: Trial,
    ) -> Result<(), SweepError> {
        if context.production.is_some() && self.guard.is_none() {
            return Err(stopped("production is not stopped: nothing is launched".to_owned()));
        }
        self.check_production(context).await?;
        self.check_disk()?;
        self.night.fresh = false;
        let passes = pass::missing(&self.record, trial.number, trial.repeats);
        let bar = self.bar(context, &trial);
        let early = bar.and_then(|bar| EarlyStop::of(&self.record, trial.number, bar));
        let launch = self.start_entry(trial, passes.len() as u32, bar)?;
        let order = self.order(launch, &trial);
        let order = TrialOrder {
            gates: gates::of(&self.record, &order.launch.configuration),
            passes,
            early,
            ..order
        };
        running.start(trial, order, None, context);
        Ok(())
    }

    /// A launch as far as its trial says what it is: without what it goes through.
    pub(super) fn order(&self, launch: u32, trial: &Trial) -> TrialOrder {
        let manifest = &self.record.manifest;
        let configuration = manifest.configurations[trial.configuration].clone();
        TrialOrder {
            launch: LaunchOrder {
                sweep: manifest.sweep.clone(),
                launch,
                folder: self.folder.launch(launch, &configuration.name),
                configuration,
                worked: self.spent.all + self.nights + self.started.elapsed(),
            },
            trial: trial.number,
            purpose: trial.purpose,
            round: trial.round(&self.record),
            salt: format!("{} {}", manifest.sweep, manifest.created_at),
            seed: manifest.strategy.seed(),
            gates: GateOrder::default(),
            passes: Vec::new(),
            beside: trial.partner(&self.record).and_then(|it| placed(&self.record, it)),
            early: None,
        }
    }

    /// Beyond which value a trial is clearly behind: as its strategy says when it begins, and
    /// as it began where its rest is measured, so that a stop changes nothing.
    fn bar(&self, context: &SweepContext, trial: &Trial) -> Option<Bar> {
        let is_begun = |it: &LaunchRecord| {
            it.trial == trial.number && !matches!(it.outcome, Some(LaunchOutcome::Skipped { .. }))
        };
        if self.record.launches.iter().any(is_begun) {
            return behind::bar(&self.record, trial.number);
        }
        // Where few are left, each repeat counts, and those of a pair have equally many.
        if trial.purpose == Purpose::Final {
            return None;
        }
        let observations = self.scope.observations(&self.record);
        let bar = self.strategy(context).bar(&observations, trial.configuration);
        // No journal has a number that is none.
        bar.filter(|bar| bar.value.is_finite())
    }

    /// Journals that a launch begins, or is skipped; its number.
    pub(super) fn start_entry(
        &mut self,
        trial: Trial,
        planned: u32,
        bar: Option<Bar>,
    ) -> Result<u32, SweepError> {
        // Behind every folder that there is, whatever the journal knows: none is written over.
        let configuration = &self.record.manifest.configurations[trial.configuration];
        let (name, gpus) = (configuration.name.clone(), configuration.gpus());
        let launch = replay::next_launch(&self.record).max(self.files.next_launch());
        self.append(Entry::LaunchStarted {
            launch,
            trial: trial.number,
            configuration: name,
            purpose: trial.purpose,
            planned,
            repeats: Some(trial.repeats),
            // On a cluster it is known once the job runs.
            host: self.record.manifest.hosts.is_none().then(|| self.host.clone()),
            bar,
            gpus: (planned > 0).then_some(gpus),
        })?;
        Ok(launch)
    }
}

/// The node that a trial was launched on last, where one did.
fn placed(record: &SweepRecord, trial: u32) -> Option<String> {
    let mut launches = record.launches.iter().rev().filter(|it| it.trial == trial);
    launches.find(|it| it.machine.is_some())?.host.clone()
}
