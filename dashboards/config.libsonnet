// What users of the mixin may want to change.
{
  _config+:: {
    // Put before the runbooks' addresses in alerts; with one that begins with http, panels get links to them, too.
    // Leave it empty for paths within this repository.
    docsUrl: '',
    // Further labels to select by, for example 'cluster="main", '.
    selector: '',
    dashboardTags: ['muster'],
    refresh: '30s',
    timeFrom: 'now-1h',
  },
}
